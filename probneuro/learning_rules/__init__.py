"""learning_rules"""
