/** What the kernel allows this process: each capability, and what it is for (capabilities(7)). Pure. */

import { ExitStatus } from '../../errors.ts'
import type { Capability, Facts, OwnProcess } from '../facts.ts'
import { type Details, error, type Finding, info, ok, warning } from '../finding.ts'
import { again } from '../shell.ts'

/** What each is for, as said when it is there and when it is not. */
const PURPOSES: readonly (readonly [capability: Capability, purpose: string])[] = [
  ['net_raw', 'capturing and injecting frames'],
  ['net_admin', 'a receive buffer beyond net.core.rmem_max'],
  ['sys_ptrace', "with CAP_DAC_READ_SEARCH, the TAPs of other users' VMs"],
  ['dac_read_search', "with CAP_SYS_PTRACE, the TAPs of other users' VMs"],
  ['sys_admin', 'other network namespaces'],
]

/** With both, the descriptors of other users' processes can be seen. */
const SIGHT: readonly Capability[] = ['dac_read_search', 'sys_ptrace']

export function seesOthers({ uid, capabilities: held }: OwnProcess): boolean {
  return uid === 0 || SIGHT.every(capability => held.has(capability))
}

export function checkPrivileges(facts: Facts): Finding[] {
  const { process, request } = facts
  // Between streams nothing is captured or injected.
  if (request.indev !== undefined && request.outdev !== undefined) return capabilities(process)
  const denied = (what: string) => process.probes.find(probe => probe.what === what && !probe.allowed)
  const findings: Finding[] = []
  const socket = denied('packet_socket')
  if (socket !== undefined) {
    findings.push(
      error(
        'CAPTURE_DENIED',
        ExitStatus.Permission,
        'privileges',
        `no frame can be captured or injected: the kernel refuses a packet socket (${socket.errno})`,
        withCapabilities(facts, 'net_raw'),
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
        withCapabilities(facts, 'net_raw', 'net_admin'),
      ),
    )
  }
  if (denied('receive_buffer') !== undefined && request.latency !== undefined) {
    findings.push(
      info(
        'RECEIVE_BUFFER_LIMITED',
        'privileges',
        'without CAP_NET_ADMIN a burst finds room for net.core.rmem_max bytes only: --latency=balanced captures ' +
          'through its ring from the start, and --latency=low may lose frames of a burst',
        withCapabilities(facts, 'net_raw', 'net_admin'),
      ),
    )
  }
  const ring = denied('ring')
  if (ring !== undefined && request.latency === 'balanced') {
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

/** The command again, as the same user, with these capabilities and those that it has, and with what its ends take. */
export function withCapabilities(facts: Facts, ...names: readonly Capability[]): Details {
  const { process, request, input, output } = facts
  const closed = [input, output].filter(end => end?.problem?.code === 'PERMISSION')
  const needed = new Set<Capability>(names)
  if (closed.length > 0) needed.add('sys_admin')
  // A process's file of its namespace is as closed as the process.
  if (closed.some(end => end?.place.netns?.startsWith('/proc/'))) needed.add('sys_ptrace')
  // Root lacks what was taken from everything that it can start.
  if (process.uid === 0) {
    const missing = [...needed].filter(name => !process.capabilities.has(name))
    if (missing.length === 0) {
      return {
        note: 'this is probably root of a user namespace only, as in a rootless container: be root of the host',
      }
    }
    const list = missing.map(name => `CAP_${name.toUpperCase()}`).join(', ')
    return { note: `this is root without ${list}: grant that in the settings of the container or unit` }
  }
  const list = [...new Set([...needed, ...process.capabilities])].map(name => `+${name}`).join(',')
  const groups = process.groups.length === 0 ? '--clear-groups' : `--groups=${process.groups.join(',')}`
  const user = `--reuid=${process.uid} --regid=${process.gid} ${groups}`
  return { fix: `setpriv ${user} --inh-caps=${list} --ambient-caps=${list} ${again(request, {})}` }
}
