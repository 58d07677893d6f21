"""What a release does under a traffic trace, in virtual time: the controllers, exactly, and models of the rest."""
