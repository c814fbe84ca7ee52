"""`navit-edge demo`: a small trained bundle, pictures of many sizes, and a page of both."""
