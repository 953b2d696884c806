"""One file a score: a number per policy call, higher is worse."""
