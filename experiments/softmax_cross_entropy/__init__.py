"""Softmax and cross-entropy: is the gradient p - y, and which way of writing the loss survives large logits?

Identities on random problems, the Jacobian and the printed example (``identities``); the same loss written four ways
at growing gaps between logits, in three precisions (``stability``).
"""
