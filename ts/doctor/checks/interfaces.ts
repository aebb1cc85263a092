/** Whether both ends are there, carry Ethernet, are up and lead somewhere. Pure. */

import type { HostInterface } from '../../binding.ts'
import { ExitStatus } from '../../errors.ts'
import type { End, Facts, OwnProcess } from '../facts.ts'
import { type Details, error, type Finding, ok, warning } from '../finding.ts'
import { at } from '../shell.ts'
import { explainMissing } from './missing.ts'
import { seesOthers } from './privileges.ts'

/** What `ip link` and QEMU's scripts give a TAP; a burst of fewer frames is what a queue is for. */
const USUAL_QUEUE_LENGTH = 1000
const SHORT_QUEUE_LENGTH = 100

/** Those that neither delay nor refuse anything on purpose. */
const PLAIN_QDISCS: ReadonlySet<string> = new Set([
  ...['noqueue', 'pfifo_fast', 'pfifo', 'bfifo', 'fq_codel', 'fq', 'mq', 'cake', 'sfq', 'noop', ''],
])

export function checkInterfaces(facts: Facts): Finding[] {
  return [facts.input, facts.output].flatMap(end => (end === undefined ? [] : checkEnd(end, facts)))
}

export function nameOf({ role, given, place }: End): string {
  return given === place.interface ? `${role} ${given}` : `${role} ${given} (${place.interface})`
}

function checkEnd(end: End, facts: Facts): Finding[] {
  const { facts: netdev } = end
  if (netdev === undefined) return [explainMissing(end, facts)]
  const about = nameOf(end)
  if (!netdev.ethernet) {
    return [
      error('NETDEV_NOT_ETHERNET', ExitStatus.Interface, about, 'its frames have no Ethernet header', {
        note: 'give a TAP, veth, bridge or network card: a TUN, ppp or WireGuard interface carries bare packets',
      }),
    ]
  }
  const link = checkLink(end, netdev, facts.process)
  // A bridge closes a port that leads nowhere by itself.
  const findings = link.length > 0 ? link : checkBridgePort(end, netdev)
  if (end.role === 'out_netdev') findings.push(...checkOutput(end, netdev))
  return findings.length > 0 ? findings : [ok('INTERFACE_READY', about, 'it is there, up, and has a carrier')]
}

function checkLink(end: End, netdev: HostInterface, process: OwnProcess): Finding[] {
  const { role, place, network } = end
  const about = nameOf(end)
  const consequence = role === 'in_netdev' ? 'nothing is sent into it' : 'nothing can be injected into it'
  if (!netdev.up) {
    return [
      error('INTERFACE_DOWN', ExitStatus.Interface, about, `it is down: ${consequence}`, {
        fix: at(end, 'ip', 'link', 'set', 'dev', place.interface, 'up'),
      }),
    ]
  }
  if (netdev.carrier) return []
  const refuse = (why: string, details: Details): Finding[] => [
    error(
      'NO_CARRIER',
      ExitStatus.Interface,
      about,
      `it has no carrier: ${why}, and ${consequence}`,
      details,
    ),
  ]
  if (netdev.tun !== undefined && !end.held) {
    const sight = seesOthers(process) ? '' : ' that this user can see'
    return refuse(`no VM${sight} holds this TAP open`, { note: 'start the VM that it belongs to' })
  }
  if (netdev.tun !== undefined) {
    return refuse('it was set off', {
      fix: at(end, 'ip', 'link', 'set', 'dev', place.interface, 'carrier', 'on'),
    })
  }
  const peer = network?.interfaces.find(({ ifindex }) => ifindex === netdev.link && !netdev.linkElsewhere)
  if (netdev.kind === 'veth' && peer !== undefined && !peer.up) {
    return refuse(`its peer ${peer.name} is down`, {
      fix: at(end, 'ip', 'link', 'set', 'dev', peer.name, 'up'),
    })
  }
  return refuse(
    netdev.linkElsewhere ? 'its other end, in another network namespace, is down' : 'nothing is connected',
    {
      note: netdev.linkElsewhere
        ? 'set its other end up, where that is'
        : 'look at the cable and at the other end',
    },
  )
}

function checkBridgePort(end: End, netdev: HostInterface): Finding[] {
  const state = netdev.bridgePortState
  if (state === undefined || state === 'forwarding') return []
  const about = nameOf(end)
  const bridge = end.network?.interfaces.find(({ ifindex }) => ifindex === netdev.controller)
  const message = `bridge ${bridge?.name ?? ''} does not forward through it: the port is ${state}`
  // Only spanning tree has the other states, and only it leaves them.
  if (state === 'disabled' && bridge?.up === false) {
    return [
      error(
        'BRIDGE_PORT_CLOSED',
        ExitStatus.Interface,
        about,
        `bridge ${bridge.name} is down, and forwards nothing`,
        {
          fix: at(end, 'ip', 'link', 'set', 'dev', bridge.name, 'up'),
        },
      ),
    ]
  }
  if (state === 'disabled') {
    return [
      error('BRIDGE_PORT_CLOSED', ExitStatus.Interface, about, message, {
        fix: at(end, 'bridge', 'link', 'set', 'dev', end.place.interface, 'state', 3),
      }),
    ]
  }
  if (state === 'blocking') {
    return [
      error('BRIDGE_PORT_CLOSED', ExitStatus.Interface, about, message, {
        note: 'spanning tree closed it, because the bridge has another way to the same place: use that one, or remove it',
      }),
    ]
  }
  return [
    warning('BRIDGE_PORT_CLOSED', about, message, {
      note: 'spanning tree opens it by itself: within half a minute, unless forward_delay was changed',
    }),
  ]
}

function checkOutput(end: End, netdev: HostInterface): Finding[] {
  const about = nameOf(end)
  const { place } = end
  const findings: Finding[] = []
  if (netdev.kind === 'macvtap') {
    findings.push(
      error(
        'MACVTAP_OUTPUT',
        ExitStatus.Interface,
        about,
        'what is injected into a macvtap leaves through its card, and no guest gets it',
        {
          note: 'give the guest a TAP on a bridge, and inject into that',
        },
      ),
    )
  }
  if (netdev.tun !== undefined && netdev.txQueueLength < SHORT_QUEUE_LENGTH) {
    findings.push(
      warning(
        'QUEUE_SHORT',
        about,
        `its queue holds ${netdev.txQueueLength} frames: the rest of a burst is lost, silently, when the guest is slower`,
        { fix: at(end, 'ip', 'link', 'set', 'dev', place.interface, 'txqueuelen', USUAL_QUEUE_LENGTH) },
      ),
    )
  }
  if (!PLAIN_QDISCS.has(netdev.qdisc)) {
    findings.push(
      warning(
        'QDISC_LIMITS',
        about,
        `its queueing discipline ${netdev.qdisc} may delay or drop what is injected`,
        {
          fix: at(end, 'tc', 'qdisc', 'del', 'dev', place.interface, 'root'),
        },
      ),
    )
  }
  return findings
}
