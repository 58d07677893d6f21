"""What must exist in an AWS account before a release works, derived from what is rendered.

    described = account.describe(release, Target())

Values are never read: a bucket is one because a container is told of it, a role is needed because
a ServiceAccount's pods read it. Policies are plain dictionaries, made by pure functions.
"""
