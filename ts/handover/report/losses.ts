/** What was lost, where and why: the sum of it is the first thing that a page says. Pure. */

import type { NetdevPair } from './pair.ts'

export interface Loss {
  frames: number
  /** `at the source`, ... */
  where: string
  why: string
}

/** Nothing of what the source keeps after a cancelled migration: its guest has it all in its own TAP. */
export function lossesOf(pair: NetdevPair): Loss[] {
  return [...atTheSource(pair), ...onTheWay(pair), ...atTheDestination(pair)].filter(
    ({ frames }) => frames > 0,
  )
}

export function framesLost(losses: readonly Loss[]): number {
  return losses.reduce((sum, { frames }) => sum + frames, 0)
}

function atTheSource({ source }: NetdevPair): Loss[] {
  if (source === undefined || source.outcome === 'cancelled') return []
  const where = 'at the source'
  return [
    { frames: source.hold_full, where, why: 'more were waiting than --max-hold allows' },
    { frames: source.ring_full, where, why: 'the kernel had no room for what tapferry had not read yet' },
    { frames: source.unsendable, where, why: 'they cannot be handed over: no Ethernet frames, or too long' },
    {
      frames: source.no_peer,
      where,
      why: 'the destination was not there at the end, or was another process that did not know them',
    },
    { frames: source.held, where, why: 'they were still waiting when the handover ended' },
  ]
}

function onTheWay({ source, destination }: NetdevPair): Loss[] {
  if (source === undefined || destination === undefined || source.outcome === 'cancelled') return []
  const frames = source.sent - (destination.received - destination.before_cut)
  return [{ frames, where: 'between the hosts', why: 'sent, and never received: the link was lost' }]
}

function atTheDestination({ source, destination }: NetdevPair): Loss[] {
  if (destination === undefined || source?.outcome === 'cancelled' || destination.outcome === 'cancelled') {
    // A destination that discards what its source handed over for good has lost it.
    const frames = source?.outcome === 'done' ? (destination?.discarded ?? 0) : 0
    return [{ frames, where: 'at the destination', why: 'discarded, as if the migration had been cancelled' }]
  }
  const where = 'at the destination'
  return [
    { frames: destination.refused, where, why: `the kernel did not take them for ${destination.interface}` },
    { frames: destination.parked, where, why: 'they were still waiting when the handover ended' },
    { frames: destination.discarded, where, why: 'discarded' },
    {
      frames: destination.lost_at_tap,
      where,
      why: `dropped by ${destination.interface}, whose queue was full (its tx_dropped, whoever sent them)`,
    },
  ]
}
