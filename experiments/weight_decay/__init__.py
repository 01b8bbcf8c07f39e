"""Are an L2 penalty and weight decay the same thing?

The penalty's gradient, both updates side by side for plain descent, momentum and Adam, and the factor of a step
(``updates``); how much a weight shrinks under each, against the scale of its gradients (``scales``);
and which penalties and steps set weights to exactly 0 (``penalties``).
"""
