# Stage 1: the synapses, one job a block. No job needs another's block.

for run, job, of_rule in rules_of("network"):

    rule:
        name:
            rule_name(run, of_rule)
        input:
            run.network.edges or [],
        output:
            below(run, job.files),
            stamp=touch(f"{run.path}/{job.stamp}"),
        log:
            f"{run.path}/{job.log}",
        benchmark:
            f"{run.path}/{job.benchmark}"
        group:
            together("network")
        envmodules:
            *run.cluster.modules,
        threads: 1
        resources:
            **asked(run, "network"),
            turn=1,
        params:
            run=run.path,
            fingerprint=fingerprint(run, "network"),
        message:
            "network: block {wildcards.block} of {params.run}"
        shell:
            "spikelens network {params.run:q} --blocks {wildcards.block} --planned {params.fingerprint} --log {log:q}"
