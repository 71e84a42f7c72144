"""The passes over a bundle, one module each; `engine.bundle.check` has their order."""
