"""The payloads, a file per family. They import nothing of Weaver but the registry, for they outlive what they tell of."""
