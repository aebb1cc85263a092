/** What a handover may leave on a host: the length of a TAP's queue, filters, sockets, its record. */

import { readdir, readFile, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { recordDirectories } from '../../ts/handover/records.ts'
import { loadBinding } from '../../ts/native.ts'
import type { Host } from './network.ts'

export interface Traces {
  /** `tap0: 1000 frames` and so on. */
  readonly queueLengths: readonly string[]
  /** tc filters and programs at tcx, each with its TAP. */
  readonly filters: readonly string[]
  /** But the lab's own. */
  readonly packetSockets: readonly string[]
  /** Files that name this host's network namespace. */
  readonly records: readonly string[]
}

export async function tracesOn({ lab, taps }: Host): Promise<Traces> {
  const netns = `/proc/${lab.pid}/ns/net`
  const [{ interfaces }, { count }, namespace] = await Promise.all([
    loadBinding().inspectNetwork(netns),
    lab.ask('packet-sockets'),
    readlink(netns),
  ])
  const present = interfaces.filter(({ name }) => taps.includes(name))
  return {
    queueLengths: present.map(({ name, txQueueLength }) => `the queue of ${name} is ${txQueueLength} long`),
    filters: present.flatMap(({ name, filters }) =>
      filters.map(({ kind, direction }) => `${kind} at ${direction} of ${name}`),
    ),
    packetSockets: Array.from({ length: Number(count) }, (_, index) => `packet socket ${index + 1}`),
    records: await recordsOf(namespace),
  }
}

/** What is there now and was not before. */
export function added(before: Traces, after: Traces): string[] {
  const kinds = ['queueLengths', 'filters', 'packetSockets', 'records'] as const
  return kinds.flatMap(kind => after[kind].filter(trace => !before[kind].includes(trace)))
}

async function recordsOf(namespace: string): Promise<string[]> {
  const paths = await Promise.all(
    recordDirectories().map(async directory => {
      const names = await readdir(directory).catch(() => [])
      return names.map(name => join(directory, name))
    }),
  )
  const found = await Promise.all(
    paths.flat().map(async path => {
      const text = await readFile(path, 'utf8').catch(() => '')
      return text.includes(namespace) ? [`record ${path}`] : []
    }),
  )
  return found.flat()
}
