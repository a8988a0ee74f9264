"""The table of every abnormality, without the handling and with it: ``make abnormality-table``.

``python -m orchestrator.abnormality_table`` runs ``hopbed ab ike-abnormality --vary handling=off,on``
for every kind and both versions of IKE, and writes one page of Markdown.
"""
