"""How good are the predictions of a results file?"""
