/** What the two sides of a rehearsal have learned of each other -> findings. Pure. */

import type { HandoverDifference, HandoverEncounter, HandoverPeer } from '../../binding.ts'
import { error, type Finding, failure, info, ok, warning } from '../../doctor/finding.ts'
import { ExitStatus } from '../../errors.ts'
import { formatDuration } from '../../output/format.ts'
import { formatStreamAddress } from '../../stream/address.ts'
import type { RehearsalFacts } from './facts.ts'
import { isReached, isStranger } from './meeting.ts'

export function checkCounterpart({ plan, meeting, netdevs, patienceMs }: RehearsalFacts): Finding[] {
  if (meeting === undefined) return []
  const place = formatStreamAddress(plan.address)
  const way = plan.side === 'source' ? `--to ${place}` : `--from ${place}`
  const { problem, encounters } = meeting
  if (problem !== undefined) return [failure(way, problem)]
  const aboutOf = (id: string | undefined): string => {
    const netdev = netdevs.find(each => each.netdev.id === id)?.netdev
    return netdev === undefined ? way : `netdev ${netdev.title}`
  }
  const findings = encounters.flatMap(encounter => {
    const about = isReached(encounter) ? aboutOf(encounter.netdev) : way
    return [
      ...metFinding(about, encounter),
      ...encounter.differences.map(each => differenceFinding(about, each)),
    ]
  })
  if (plan.side === 'source') {
    const reached = encounters.some(isReached)
    return [...(reached ? [ok('WAY', way, 'somebody listens there')] : []), ...findings]
  }
  return [ok('WAY', way, 'it can be listened at'), ...findings, ...missed()]

  /** At the destination, whoever did not come. */
  function missed(): Finding[] {
    if (patienceMs === 0) return []
    if (encounters.every(isStranger)) {
      const message = `no source came within ${formatDuration(patienceMs)}: the two sides are not compared`
      const note = 'run tapferry handover check source at the other host meanwhile, or look from there'
      return [warning('NOBODY_CAME', way, message, { note })]
    }
    // One that could not be understood has said nothing of netdevs.
    if (encounters.every(({ peer }) => peer === undefined)) return []
    const alone = netdevs.filter(({ netdev }) => !encounters.some(each => each.netdev === netdev.id))
    return alone.map(({ netdev }) =>
      warning('NETDEV_UNASKED', `netdev ${netdev.title}`, 'the source did not come for it', {
        note: 'name the same netdevs on both sides, or none, which is all',
      }),
    )
  }
}

const ROLES: Readonly<Record<HandoverPeer['role'], string>> = {
  source: 'armed',
  destination: 'armed',
  rehearsal: 'which rehearses as well',
}

function metFinding(
  about: string,
  { netdev, peer, roundTripMs, clockOffsetMs }: HandoverEncounter,
): Finding[] {
  if (netdev === undefined || peer === undefined) return []
  const { tapferry, role, netdevId, mtu, offloads } = peer
  const header = {
    true: 'a virtio header',
    false: 'no virtio header',
    undefined: 'another kind of interface',
  }[`${peer.vnetHdr}`]
  const measured =
    roundTripMs === undefined || clockOffsetMs === undefined
      ? []
      : [
          `round trip ${inMilliseconds(roundTripMs)}`,
          `clocks ${inMilliseconds(Math.abs(clockOffsetMs))} apart`,
        ]
  const facts = [`mtu ${mtu}`, header, `offloads ${offloadNames(offloads)}`, ...measured]
  return [
    ok('PEER_MET', about, `tapferry ${tapferry}, ${ROLES[role]}, has it as ${netdevId}: ${facts.join(', ')}`),
  ]
}

/** `TUN_F_*` of linux/if_tun.h, from the lowest bit on. */
const OFFLOADS = ['csum', 'tso4', 'tso6', 'tso_ecn', 'ufo', 'uso4', 'uso6'] as const

function offloadNames(bits: number): string {
  return OFFLOADS.filter((_, place) => bits & (1 << place)).join('+') || 'none'
}

/** Clocks and networks of a rack differ by less than one. */
function inMilliseconds(milliseconds: number): string {
  return milliseconds < 10 ? `${milliseconds.toFixed(2)} ms` : formatDuration(milliseconds)
}

function differenceFinding(about: string, { code, weight, message, advice }: HandoverDifference): Finding {
  const name = code.toUpperCase()
  const details = { note: advice }
  switch (weight) {
    case 'fault':
      return error(name, ExitStatus.Failed, about, message, details)
    case 'cost':
      return warning(name, about, message, details)
    default:
      return info(name, about, message, details)
  }
}
