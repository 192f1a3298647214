"""Is a list of neurons, whoever made it, better than random ones, and on which facts?"""
