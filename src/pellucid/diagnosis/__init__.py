"""What went wrong in a training, on any module: findings with their evidence, a remedy and how sure they are."""
