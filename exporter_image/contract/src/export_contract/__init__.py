"""What the operator and the exporter say to each other. No dependencies but the standard library.

`runspec`: what to export, given to the pod. `report`: progress lines and the termination message, given back.
`manifest`: the truth about a delivered object, beside it in S3. `failures`: every way a run can fail, with class,
exit code and whether another attempt may help. `names`: keys and names derived from a run. `environment`: the
variables that carry credentials and paths. `logs`: the form of log lines.
"""
