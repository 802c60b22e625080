"""Forms of files, as plain arrays and bytes: no model is known here, and nothing in a file is ever run."""
