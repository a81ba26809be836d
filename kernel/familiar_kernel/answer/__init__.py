"""Turn events on their way to a MIME bundle that a front end shows and a notebook keeps."""
