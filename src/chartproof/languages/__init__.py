"""Languages embedded in manifests: each module parses one of them as the program that reads it would."""
