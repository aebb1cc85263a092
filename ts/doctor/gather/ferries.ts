/** Other tapferrys of this host, by what they have open: that is true whatever they were asked to do. */

import { basename, dirname } from 'node:path'
import type { NetworkView } from '../../binding.ts'
import { argumentsOf, descriptorsOf, listPids, socketInode } from '../../host/processes.ts'
import { DEFAULT_MARK } from '../../run/options.ts'

export interface Ferry {
  readonly pid: number
  readonly mark: number
  /** In which of the namespaces that were looked at, as `net:[...]`. */
  readonly namespace: string
  /** ifindexes. */
  readonly captures: readonly number[]
  readonly injects: readonly number[]
}

/** Those with AF_PACKET sockets in these namespaces. */
export async function findFerries(networks: readonly NetworkView[]): Promise<Ferry[]> {
  const views = [...new Map(networks.map(view => [view.namespace, view])).values()]
  const ferries: Ferry[] = []
  for (const pid of await listPids()) {
    const words = pid === process.pid ? undefined : runWords(await argumentsOf(pid))
    if (words === undefined) continue
    const inodes = new Set((await descriptorsOf(pid)).map(socketInode))
    for (const { namespace, packetSockets } of views) {
      const sockets = packetSockets.filter(({ inode }) => inodes.has(String(inode)))
      const bound = (captures: boolean): number[] =>
        sockets.filter(({ protocol }) => (protocol !== 0) === captures).map(({ ifindex }) => ifindex)
      if (sockets.length > 0) {
        ferries.push({ pid, mark: markIn(words), namespace, captures: bound(true), injects: bound(false) })
      }
    }
  }
  return ferries
}

/** Whether a process is a `tapferry run`. */
export async function isFerry(pid: number): Promise<boolean> {
  return runWords(await argumentsOf(pid)) !== undefined
}

/** What follows `tapferry run`, of a process that is one: node, its options, the bundle, the words. */
function runWords(args: readonly string[]): readonly string[] | undefined {
  const script = args.findIndex(
    argument => basename(argument) === 'main.mjs' && basename(dirname(argument)) === 'dist',
  )
  return script > 0 && args[script + 1] === 'run' ? args.slice(script + 2) : undefined
}

function markIn(words: readonly string[]): number {
  const index = words.findIndex(word => word === '--mark' || word.startsWith('--mark='))
  if (index < 0) return DEFAULT_MARK
  return Number(words[index]?.split('=')[1] ?? words[index + 1])
}
