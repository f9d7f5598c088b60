"""Names of processor features, as LLVM spells them, that kernels of a path cannot do without."""

AVX2 = ("avx2", "fma")
AVX512_VNNI = ("avx512f", "avx512bw", "avx512vl", "avx512vnni")
AVX512_VBMI = ("avx512f", "avx512bw", "avx512vl", "avx512vbmi")
AMX_INT8 = (*AVX512_VNNI, "amx-tile", "amx-int8")
