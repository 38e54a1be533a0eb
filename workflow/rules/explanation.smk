# Stage 5: attention, forecasts and reconstructions, scored against the wiring, with controls.

for run, job, of_rule in rules_of("explanation"):

    rule:
        name:
            rule_name(run, job)
        input:
            ancient(made(run, "network", "simulation", "features", "models")),
        output:
            made=touch(below(run, job.made)),
            whole=touch(below(run, job.whole)),
        log:
            below(run, job.log),
        benchmark:
            below(run, job.benchmark)
        group:
            together("outcome")
        envmodules:
            *run.cluster.modules,
        threads: 1
        resources:
            **asked(run, "explanation"),
        params:
            run=doer,
            fingerprint=fingerprint(run, "explanation"),
        message:
            "explanation: {params.run}"
        shell:
            "OMP_NUM_THREADS={threads} spikelens explain {params.run:q} --planned {params.fingerprint} --log {log:q}"
