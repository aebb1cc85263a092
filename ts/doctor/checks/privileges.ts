/** What the kernel allows this process: each capability, and what it is for (capabilities(7)). Pure. */

import { ExitStatus } from '../../errors.ts'
import type { Capability, Facts, OwnProcess } from '../facts.ts'
import { error, type Finding, info, ok, warning } from '../finding.ts'
import { again } from '../shell.ts'

/** What each is for, as said when it is there and when it is not. */
const PURPOSES: readonly (readonly [capability: Capability, purpose: string])[] = [
  ['net_raw', 'capturing and injecting frames'],
  ['net_admin', 'a receive buffer beyond net.core.rmem_max'],
  ['sys_ptrace', 'TAPs that another user handed to a VM by descriptor'],
  ['sys_admin', 'other network namespaces'],
]

export function checkPrivileges(facts: Facts): Finding[] {
  const { process } = facts
  const denied = (what: string) => process.probes.find(probe => probe.what === what && !probe.allowed)
  const findings: Finding[] = []
  const socket = denied('packet_socket')
  if (socket !== undefined || process.probes.length === 0) {
    findings.push(
      error(
        'CAPTURE_DENIED',
        ExitStatus.Permission,
        'privileges',
        `no frame can be captured or injected: the kernel refuses a packet socket (${socket?.errno ?? 'EPERM'})`,
        { fix: withCapabilities(facts, 'net_raw') },
      ),
    )
    return [...findings, ...capabilities(process)]
  }
  const mark = denied('mark')
  if (mark !== undefined) {
    findings.push(
      error(
        'MARK_DENIED',
        ExitStatus.Permission,
        'privileges',
        `injected frames cannot be marked (${mark.errno}), and so loops not be prevented: before Linux 5.17 ` +
          'SO_MARK takes CAP_NET_ADMIN, too',
        { fix: withCapabilities(facts, 'net_raw', 'net_admin') },
      ),
    )
  }
  if (denied('receive_buffer') !== undefined) {
    findings.push(
      info(
        'RECEIVE_BUFFER_LIMITED',
        'privileges',
        'without CAP_NET_ADMIN the receive buffer ends at net.core.rmem_max: balanced keeps a ring from the ' +
          'start, and --latency=low may drop the frames of a burst',
        { fix: withCapabilities(facts, 'net_raw', 'net_admin') },
      ),
    )
  }
  const ring = denied('ring')
  if (ring !== undefined && facts.request.latency === 'balanced') {
    findings.push(
      warning(
        'RING_DENIED',
        'privileges',
        `a capture ring is not to be had (${ring.errno}): ${ring.message ?? ''}`,
        {
          note: '--latency=low does without one',
        },
      ),
    )
  }
  if (findings.length === 0)
    findings.push(ok('CAPTURE_ALLOWED', 'privileges', 'frames can be captured and injected'))
  return [...findings, ...capabilities(process)]
}

function capabilities({ capabilities: held }: OwnProcess): Finding[] {
  return PURPOSES.map(([name, purpose]) =>
    ok(
      'CAPABILITY',
      'privileges',
      `CAP_${name.toUpperCase()}, for ${purpose}: ${held.has(name) ? 'held' : 'not held'}`,
    ),
  )
}

/** The command again, as the same user, with capabilities that a child keeps. */
function withCapabilities({ process, request }: Facts, ...names: readonly Capability[]): string {
  const list = names.map(name => `+${name}`).join(',')
  const user = `--reuid=${process.uid} --regid=${process.gid} --clear-groups`
  return `setpriv ${user} --inh-caps=${list} --ambient-caps=${list} ${again(request, {})}`
}
