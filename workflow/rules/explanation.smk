# Stage 5: attention, forecasts and reconstructions, scored against the wiring, with controls.

for run, job, of_rule in rules_of("explanation"):

    rule:
        name:
            rule_name(run, of_rule)
        input:
            stored=stamps(run, "network", "simulation", "features"),
            models=descriptions(run),
        output:
            below(run, job.files),
        log:
            f"{run.path}/{job.log}",
        benchmark:
            f"{run.path}/{job.benchmark}"
        group:
            together("outcome")
        envmodules:
            *run.cluster.modules,
        threads: 1
        resources:
            **asked(run, "explanation"),
        params:
            run=run.path,
            fingerprint=fingerprint(run, "explanation"),
        message:
            "explanation: {params.run}"
        shell:
            "OMP_NUM_THREADS={threads} spikelens explain {params.run:q} --planned {params.fingerprint} --log {log:q}"
