"""One file per family of symptoms; `pellucid.diagnosis.registry` says how to add one."""
