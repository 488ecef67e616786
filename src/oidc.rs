//! Bearer tokens: the issuer's keys, and verdicts on tokens.
