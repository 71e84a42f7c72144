"""The cache of task results, under the digest of all that determines them."""
