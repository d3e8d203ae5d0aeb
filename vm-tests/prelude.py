# Stands before every scenario, in both runners.
