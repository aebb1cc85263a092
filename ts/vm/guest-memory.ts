/**
 * Where a VM's process keeps the guest's memory, as its human monitor tells: `info mtree -f` has the guest's
 * addresses, `gpa2hva` one of the process's. Each piece is one mapping of the process.
 */

import type { HandoverMemory } from '../binding.ts'
import type { Monitor } from '../monitor/index.ts'

/** A piece of a block of memory, as the guest sees it. */
export interface MemoryPiece {
  readonly physical: bigint
  readonly length: bigint
}

/** In order of the guest's addresses. Rejects with what Monitor.command rejects with. */
export async function findGuestMemory(monitor: Monitor): Promise<HandoverMemory[]> {
  const pieces = parseFlatView(await humanCommand(monitor, 'info mtree -f'))
  const found: HandoverMemory[] = []
  for (const { physical, length } of pieces) {
    const address = await hostAddress(monitor, physical)
    if (address !== undefined) found.push({ physical, address, length })
  }
  return found
}

/** Where the process has an address of the guest's; undefined where there is no memory. */
export function addressIn(memory: readonly HandoverMemory[], physical: bigint): bigint | undefined {
  const piece = memory.find(each => physical >= each.physical && physical < each.physical + each.length)
  return piece === undefined ? undefined : piece.address + (physical - piece.physical)
}

/**
 * The flat view of the address space `memory`. A hole in a block, where a ROM or a frame buffer lies over it, is
 * counted as memory: it is mapped all the same. Pure.
 *
 *     FlatView #2
 *      AS "memory", root: system
 *      Root memory region: system
 *       0000000000000000-00000000000bffff (prio 0, ram): pc.ram
 *       0000000100000000-000000017fffffff (prio 0, ram): pc.ram @0000000080000000
 */
export function parseFlatView(text: string): MemoryPiece[] {
  const views = text.split(/^FlatView #\d+\r?$/m)
  const view = views.find(each => /^ AS "memory",/m.test(each)) ?? ''
  const pieces = new Map<string, { first: bigint; last: bigint }>()
  for (const line of view.split(/\r?\n/)) {
    const { from, to, block, at = '0' } = RAM.exec(line)?.groups ?? {}
    if (from === undefined || to === undefined) continue
    const [first, last] = [BigInt(`0x${from}`), BigInt(`0x${to}`)]
    const key = `${block} ${first - BigInt(`0x${at}`)}`
    pieces.set(key, { first: pieces.get(key)?.first ?? first, last })
  }
  return [...pieces.values()].map(({ first, last }) => ({ physical: first, length: last - first + 1n }))
}

const RAM =
  /^ {2}(?<from>[0-9a-f]{16})-(?<to>[0-9a-f]{16}) \(prio -?\d+, ram\): (?<block>\S+)(?: @(?<at>[0-9a-f]{16}))?/

/** `Host virtual address for 0x0 (pc.ram) is 0x7fb3b3e00000`, or a complaint. */
async function hostAddress(monitor: Monitor, physical: bigint): Promise<bigint | undefined> {
  const answer = await humanCommand(monitor, `gpa2hva 0x${physical.toString(16)}`)
  const address = / is (0x[0-9a-f]+)\s*$/.exec(answer)?.[1]
  return address === undefined ? undefined : BigInt(address)
}

function humanCommand(monitor: Monitor, line: string): Promise<string> {
  return monitor.command<string>('human-monitor-command', { 'command-line': line })
}
