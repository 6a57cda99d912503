"""Learning on line: a policy acts, its episodes join the data, the model learns from them, the policy learns in it."""
