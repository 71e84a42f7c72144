"""The live preview of a bundle: the loop, and the two views of it, full-screen and plain."""
