# With the launcher submitit the rule runs on the login node and follows jobs of its own, which it submits again itself.
IS_SUBMITTED = LAUNCHER == "submitit"


rule train:
    input:
        train=lambda wc: MODELS[wc.model].volumes("train"),
        val=lambda wc: MODELS[wc.model].volumes("val"),
        previous=lambda wc: MODELS[wc.model].checkpoint_before(int(wc.step)),
    output:
        f"{FOLDER}/models/{{model}}/segments/{{step}}/checkpoint.ckpt",
    log:
        f"{FOLDER}/logs/train/{{model}}-{{step}}.log",
    retries: 0 if IS_SUBMITTED else None
    localrule: IS_SUBMITTED
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        **MEMORY,
        gpu=1,
    params:
        job=lambda wc, resources: job_resources(resources) if IS_SUBMITTED else [],
        settings=lambda wc: stages.science_json(
            stages.train_stage(MODELS[wc.model].project)
        ),
        inputs=lambda wc, input: [
            *options("--train-volume", input.train),
            *options("--val-volume", input.val),
            *options("--previous", input.previous),
        ],
    shell:
        "exec python -m pipeline_lib train --output {output:q} {params.inputs:q}"
        " --settings {params.settings:q} --threads {threads} --memory-mb {resources.mem_mb} --gpus {resources.gpu}"
        " {params.job:q} --log {log:q}"


rule choose_checkpoint:
    input:
        lambda wc: MODELS[wc.model].checkpoints(),
    output:
        f"{FOLDER}/models/{{model}}/best.json",
    log:
        f"{FOLDER}/logs/choose_checkpoint/{{model}}.log",
    localrule: True  # seconds, by the workflow itself
    conda:
        "../../environment.yml"
    params:
        checkpoints=lambda wc, input: options("--checkpoint", input),
    shell:
        "exec python -m pipeline_lib choose-checkpoint {params.checkpoints:q} --output {output:q} --log {log:q}"
