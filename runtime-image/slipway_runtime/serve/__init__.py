"""Serving, in the order in which a request passes: edge → dialects → inference → the model, and the same way back.

    edge/       sockets, connections, tokens, bodies, the drain. What a request is before anybody knows what it asks
    dialects/   bytes of Hugging Face, OpenAI, TGI, Open Inference, Azure, SageMaker to requests, answers to bytes
    inference/  service → queue → batcher → forward → service. Knows neither HTTP nor what a model is
    loading/    files, imports, weights, the first forward: what makes a server Ready
    life/       the stage a server is in, and whether its forwards still work
    observe/    metrics, access log, traces

workers/ starts one process or several; process starts all that is in one, and app lays the routes; admin answers the
kubelet and Prometheus on a port of its own.
openapi/ and page/ describe what is served.
"""
