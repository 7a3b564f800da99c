"""The Companion: a page on one's own machine that shows what a device keeps, what left it, and takes a yes or a no."""
