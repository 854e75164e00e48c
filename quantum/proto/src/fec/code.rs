//! The Reed-Solomon code (10,3). `quantum/SPEC.md` section 7.
