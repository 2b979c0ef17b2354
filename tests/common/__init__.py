"""What several tests share: external programs, real servers, stores under one contract."""
