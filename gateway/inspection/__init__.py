"""`axgate inspect`: what a package folder holds, what its graphs can do, and whether it can be served."""
