"""How far can derivatives from values alone be trusted?

Error against step for every scheme in two precisions (``steps``), central against one-sided quotients at many points
(``rivals``), and the listings and prints of popular texts, with their traps (``listings``).
"""
