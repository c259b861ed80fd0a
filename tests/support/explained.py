"""A configuration in which everything that can decide on a request decides on some."""

from __future__ import annotations

FILE = """
listen: [{address: "127.0.0.1:8080"}]
pools:
  a: {endpoints: ["127.0.0.1:1"], pick: expected_wait}
  b: {endpoints: ["127.0.0.1:2"]}
labels: {resnet50: {stable: "1"}}
policies: {careful: {kind: retry, attempts: 3}}
routes:
- name: vision
  match: {model: "resnet*"}
  rules:
  - {when: [{header: x-team, in: [red, blue]}, {api: grpc}], to: {pool: b, model: other}, name: teams}
  - {when: {header: x-model-version, equals: "2"}, to: {pool: a, version: "2"}}
  split:
    sticky: {header: x-user}
    variants: {stable: {pool: a, weight: 90, version: stable}, canary: {pool: b, weight: 10, version: latest}}
  policies: [careful, {kind: timeout, total: 3s}]
- {match: {model: plain}, to: {pool: a}, timeout: 2s}
"""
