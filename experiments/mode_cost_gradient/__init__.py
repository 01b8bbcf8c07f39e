"""What does a gradient cost beside the value: operations against parameters, memory against depth?"""
