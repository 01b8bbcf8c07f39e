"""What are the usual losses, are their gradients what the table says, and what does convexity have to do with it?

Six losses as curves with their gradients, the table of gradients against automatic differentiation on random samples,
printed examples, and the squared error of a linear model beside that of a single tanh unit: convex in the prediction,
not in the weights.
"""
