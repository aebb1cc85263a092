/** Whether the ends that are datagrams can be had, and whether somebody is there. Pure. */

import { ExitStatus } from '../../errors.ts'
import { formatPeer } from '../../run/ends.ts'
import type { DatagramEnd, Facts } from '../facts.ts'
import { error, type Finding, ok, warning } from '../finding.ts'
import { checkPath, checkSocket, noAddressOfThisHost } from './streams.ts'

export function checkDatagrams(facts: Facts): Finding[] {
  return facts.datagrams.map(end => (end.role === 'indev' ? checkIndev(end, facts) : checkOutdev(end, facts)))
}

function nameOf({ role, plan }: DatagramEnd): string {
  return `${role} ${formatPeer(plan)}`
}

function checkIndev(end: DatagramEnd, facts: Facts): Finding {
  const about = nameOf(end)
  const { bound, file, plan } = end
  if (bound === undefined) return noAddressOfThisHost(about)
  if (bound) {
    return error('STREAM_IN_USE', ExitStatus.Failed, about, 'another process takes datagrams there already', {
      note: 'see `ss -uanp` and `ss -xanp` for who it is, or take another address',
    })
  }
  if (plan.to.kind === 'udp' || file === undefined) return ok('STREAM_READY', about, 'the port is free')
  return checkPath(about, plan.to.path, file, facts)
}

function checkOutdev(end: DatagramEnd, facts: Facts): Finding {
  const about = nameOf(end)
  const { bound, file, plan } = end
  const refused =
    plan.to.kind === 'unix' && file !== undefined ? checkSocket(about, plan.to.path, file, facts) : undefined
  if (refused !== undefined) return refused
  if (bound === undefined) {
    return ok('STREAM_READY', about, 'it is on another host: whether somebody is there is not tried')
  }
  if (bound) return ok('STREAM_READY', about, 'somebody takes datagrams there')
  return warning('STREAM_UNREACHABLE', about, 'nobody takes datagrams there yet', {
    note: 'until somebody does, frames are dropped as no_peer',
  })
}
