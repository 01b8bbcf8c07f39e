"""What does curvature cost, whole, in products and in factors?

The size of the Hessian and the price of its products beside the gradient's (``products``); and how well a Kronecker
product of two small matrices stands for a layer's block of it (``kronecker``).
"""
