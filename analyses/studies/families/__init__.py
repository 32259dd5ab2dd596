"""Do architectures differ in what they learn?"""
