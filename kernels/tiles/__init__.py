"""LLVM vector code that the fast kernels are written in: register tiles and stores."""
