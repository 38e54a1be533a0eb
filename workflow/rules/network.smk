# Stage 1: the synapses, one job a block. No job needs another's block.

for run, job, of_rule in rules_of("network"):

    rule:
        name:
            rule_name(run, job)
        output:
            made=touch(below(run, job.made)),
            whole=touch(below(run, job.whole)),
        log:
            below(run, job.log),
        benchmark:
            below(run, job.benchmark)
        group:
            together("network")
        envmodules:
            *run.cluster.modules,
        threads: 1
        resources:
            **asked(run, "network"),
            turn=1,
        params:
            run=doer,
            fingerprint=fingerprint(run, "network"),
        message:
            "network: block {wildcards.block} of {params.run}"
        shell:
            "spikelens network {params.run:q} --blocks {wildcards.block} --planned {params.fingerprint} --log {log:q}"
