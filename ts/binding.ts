/**
 * What the native addon (crates/node) offers, as types only. ts/native.ts loads it; nothing else may.
 */

export type Queue = 'tx' | 'rx' | 'all'
export type Latency = 'balanced' | 'low'
/** enable_when_stopped=off, enable_when_stopped=on, only-when-stopped. */
export type WhenStopped = 'off' | 'on' | 'only'

/** An end that carries frames in QEMU's framing; exactly one of unix, tcp and fd. */
export interface StreamOptions {
  /** An absolute path of at most 107 bytes. */
  unix?: string
  /** A server's empty host is every address. */
  tcp?: { host: string; port: number }
  /** A stream socket of this process, connected or listening; it is taken over. */
  fd?: number
  /** Listen instead of connecting; false for a descriptor. */
  server: boolean
  /** Records carry a virtio-net header and its length; the peer must be set alike. */
  vnetHdrSupport: boolean
  /** Bytes of the virtio-net header, announced or not; absent: an input sees for itself, an output writes what is usual. */
  vnetHdrLength?: number
  /** The directory of credentials for TLS, in QEMU's layout; absent: no TLS. */
  tlsCreds?: string
}

/** Frames in datagrams, one in each: `unix` or `udp`, one of them, is where they go. */
export interface DatagramOptions {
  /** An absolute path of at most 107 bytes. */
  unix?: string
  /** An input's empty host is every address. */
  udp?: { host: string; port: number }
  /** With `udp`: where they come from; absent: from anywhere. */
  from?: { host: string; port: number }
}

export interface RedirectorOptions {
  /** One of them: a host interface's name, a stream, or datagrams. */
  inNetdev?: string
  indev?: StreamOptions
  inDatagrams?: DatagramOptions
  /** One of them. */
  outNetdev?: string
  outdev?: StreamOptions
  outDatagrams?: DatagramOptions
  /** Network namespaces of in_netdev and out_netdev: paths such as `/run/netns/NAME` or `/proc/PID/ns/net`; absent: this process's own. */
  inNetns?: string
  outNetns?: string
  /** Every frame leaves outdev whole: checksums completed, segments made. */
  completeOffloads: boolean
  /** Release frames this often; absent: at once. */
  holdMs?: number
  /** Keep frames while the VM is stopped, and release them when it runs. */
  holdUntilRunning: boolean
  /** Bounds what waits for the hold or for an output that takes no more; at most 2^32 - 1 bytes. */
  bufferBytes: number
  bufferFrames: number
  /** What goes when the buffer is full: the oldest frame, or the newest. */
  dropOldest: boolean
  queue: Queue
  latency: Latency
  /** status=on|off */
  status: boolean
  whenStopped: WhenStopped
  /** The VM's run state as known at the start; true without a monitor. */
  running: boolean
  preRollMs: number
  preRollBytes: number
  /** SO_MARK on every injected frame. */
  mark: number
  /** Wait for missing interfaces, and for peers to connect to, instead of failing. */
  wait: boolean
  /** Forward at most this many frames, then report `count_reached`. */
  count?: number
}

/** Of a stream, `input_missing` and `input_back` are its peer's going and coming; as with outputs. */
export type RedirectorEventType =
  | 'ready'
  | 'waiting'
  | 'input_down'
  | 'input_up'
  | 'output_down'
  | 'output_up'
  | 'input_missing'
  | 'input_back'
  | 'output_missing'
  | 'output_back'
  /** indev was a descriptor, and its peer has closed it: nothing more can come. */
  | 'input_closed'
  | 'gate_opened'
  | 'gate_closed'
  | 'warning'
  /** New connections show and see other certificates. */
  | 'credentials_renewed'
  | 'clock_stepped'
  | 'count_reached'
  | 'failed'

export interface RedirectorEvent {
  type: RedirectorEventType
  /** CLOCK_REALTIME. */
  timeNs: bigint
  /** One line for people, without time and without newline. */
  message: string
  /** A stable code, for `warning` and `failed`. */
  code?: string
  /** The interface or the stream that it is about. */
  netdev?: string
  stream?: string
}

/** A snapshot in which captured = forwarded + sum(dropped) + held, exactly. */
export interface Statistics {
  /** One of them; a stream as it was given, without options: `unix:/run/x.sock`. */
  inNetdev?: string
  indev?: string
  outNetdev?: string
  outdev?: string
  gate: 'open' | 'closed'
  status: boolean
  running: boolean
  /** How frames come in at this moment. */
  engine: 'ring' | 'socket' | 'stream' | 'closed'
  captured: number
  capturedBytes: number
  forwarded: number
  forwardedBytes: number
  /** The part of `forwarded` that left before the gate's closing was known, although stamped after it. */
  forwardedLate: number
  /** Frames that wait in the pre-roll, for the hold, or in the buffer before the output. */
  held: number
  heldBytes: number
  /** Reason -> frames; every reason is present. */
  dropped: Record<string, number>
  /** Growth of out_netdev's tx_dropped, by all senders; outside the sum. */
  lostAtOutput: number
  /** Connections of indev that were closed because their bytes were no records. */
  framingErrors: number
  /** Connections that TLS refused, here or at the peer, or that broke its rules. */
  tlsFailures: number
  /** Of a stream: times without a peer. */
  inputOutages: number
  outputOutages: number
  inputOutageMs: number
  outputOutageMs: number
  /** Events that were not delivered because JavaScript was too busy to take them. */
  eventsLost: number
  lastError?: string
}

/** A running redirector; it works in a thread of its own. */
export interface Redirector {
  setStatus(on: boolean): void
  /** `atNs`: CLOCK_REALTIME of the QMP event; without it, the time of arrival counts. */
  setRunState(running: boolean, atNs?: bigint): void
  statistics(): Promise<Statistics>
  /** Drains, closes, and answers with the final statistics; may be called again. */
  stop(): Promise<Statistics>
}

/** Where the destination of a handover listens; exactly one of unix and tcp, and with tcp maybe TLS. */
export type HandoverAddress = Pick<StreamOptions, 'unix' | 'tcp' | 'tlsCreds'>

/** Which VM and which of its netdevs, so that two of different VMs are never joined. */
export interface HandoverIdentity {
  /** `query-uuid`; absent: it has none. */
  vmUuid?: string
  /** `query-name`; empty: it has none. */
  vmName: string
  /** QEMU's id, or the interface's name where that is not known. */
  netdevId: string
  /** `52:54:00:12:34:56`; absent where it is not known. */
  mac?: string
}

/** A netdev of a VM, by its TAP. */
export interface HandoverNetdevOptions {
  /** The TAP's name. */
  netdev: string
  /** A path; absent: the network namespace of this process. */
  netns?: string
  identity: HandoverIdentity
}

export interface HandoverLimits {
  /** Of frames that wait, for each netdev; at most 2^32 - 1. */
  maxHoldBytes: number
  /** SO_MARK on every injected frame. */
  mark: number
  /** Until the VM runs at the destination, once its migration is complete; there: once the source is gone. */
  resumeTimeoutMs: number
}

export interface HandoverSourceOptions extends HandoverNetdevOptions, HandoverLimits {
  to: HandoverAddress
}

export interface HandoverDestinationOptions extends HandoverLimits {
  from: HandoverAddress
  netdevs: HandoverNetdevOptions[]
  /** Absent: tcx where the kernel has it, else cls_bpf. */
  gate?: GateKind
}

export type HandoverEventType =
  /** Once: the other side has answered. */
  | 'ready'
  /** The other side cannot be reached yet. */
  | 'waiting'
  | 'state'
  | 'link_lost'
  | 'link_back'
  | 'peer_refused'
  /** New connections use the renewed credentials. */
  | 'credentials_renewed'
  | 'warning'
  /** Once: the report is complete. */
  | 'ended'

export interface HandoverEvent {
  type: HandoverEventType
  /** QEMU's id of the netdev that it is about; absent: all of them. */
  netdev?: string
  /** The state that it is in now; empty for what is about all netdevs. */
  state: string
  /** CLOCK_REALTIME. */
  timeNs: bigint
  /** One line for people, without time and without newline. */
  message: string
  /** A stable code, for `warning` and failures. */
  code?: string
}

/** A piece of the guest's memory. */
export interface HandoverMemory {
  /** Where the guest has it. */
  physical: bigint
  /** Where the VM's process has it. */
  address: bigint
  length: bigint
}

/** The queue through which a guest receives, by addresses of the VM's process. */
export interface HandoverRing {
  /** Entries. */
  queueSize: number
  descriptors: bigint
  available?: bigint
  used: bigint
  /** Bytes of the virtio-net header before each frame: 10, 12 or 20. */
  headerLength: number
  /** A frame may lie in several buffers (VIRTIO_NET_F_MRG_RXBUF). */
  mergeable: boolean
  memory: HandoverMemory[]
}

/** Where the queue is through which the guest receives, or why that is not known. */
export type HandoverReceiveQueue =
  | { ring: HandoverRing }
  /** One line for the report. */
  | { whyNoRing: string }

export type HandoverOutcome = 'pending' | 'done' | 'cancelled' | 'failed' | 'stopped'

interface HandoverReportHead {
  outcome: HandoverOutcome
  /** Why, where it is not done. */
  reason?: string
  states: { state: string; timeNs: bigint }[]
  /** CLOCK_REALTIME of this host, as are all moments: when the VM stopped at the source. */
  stoppedNs?: bigint
  /** When it ran at the destination. */
  resumedNs?: bigint
  linksLost: number
  /** The other side's clock minus this one's. */
  clockOffsetMs?: number
  /** Slices in which nothing happened are left out. */
  timeline: { sliceMs: number; slices: HandoverSlice[] }
}

export interface HandoverSlice {
  timeNs: bigint
  came: number
  went: number
  direct: number
  deduplicated: number
}

/** From the cut on, captured = sent + held + holdFull + ringFull + unsendable + reflected + noPeer + discarded. */
export interface HandoverSourceReport extends HandoverReportHead {
  captured: number
  sent: number
  acknowledged: number
  held: number
  holdFull: number
  ringFull: number
  unsendable: number
  reflected: number
  noPeer: number
  discarded: number
  givenBack: number
  giveBackBasis?: 'contents' | 'lengths' | 'counts' | 'unsure'
  cutMethod?: 'used_ring' | 'used_index' | 'queue_status' | 'tx_packets' | 'timestamp'
  /** Why by no better method. */
  cutReason?: string
  cutAfterMs?: number
  /** When the guest's announcement of its new place (RARP) first came back to this host. */
  announcedNs?: bigint
  linkDelayMs?: number
  tapHeld: boolean
}

/** By what a gate stands before a TAP: at tcx (Linux 6.6), or as the first filter at clsact. */
export type GateKind = 'tcx' | 'cls_bpf'

/** received = injected + deduplicated + parked + beforeCut + refused + discarded. */
export interface HandoverDestinationReport extends HandoverReportHead {
  received: number
  injected: number
  deduplicated: number
  parked: number
  parkedMost: number
  beforeCut: number
  refused: number
  discarded: number
  keptOut: number
  direct: number
  lostAtTap: number
  /** Absent where there was none. */
  gate?: GateKind
  openedNs?: bigint
  cutNs?: bigint
  delayMostMs: number
  /** Absent where no frame was injected. */
  delayMeanMs?: number
}

/** A netdev that its VM is going to leave; it works in a thread of its own. */
export interface HandoverSource {
  /** A migration has begun: frames are captured from now on. */
  calibrate(pid?: number): void
  /**
   * Comes after `calibrate`: finding it takes a moment, in which frames come. Without it the cut is not exact.
   * Resolves with whether it can be read.
   */
  receiveQueue(queue: HandoverReceiveQueue): Promise<boolean>
  /**
   * Where that queue cannot be read: its used index (mod 2^16), as the monitor has just answered, or undefined if it
   * did not. `isLast`: it was asked after `stopped`. Never two questions at once.
   */
  usedIndex(used: number | undefined, isLast: boolean): void
  /** `atNs`: CLOCK_REALTIME of the QMP event; without it, the time of arrival counts. */
  stopped(atNs?: bigint): void
  /** The VM runs on here: the migration was cancelled, or has failed. */
  resumed(): void
  completed(): void
  /** The VM's process has ended. */
  gone(): void
  report(): Promise<HandoverSourceReport>
  /** Ends it, whatever its state, and answers with the final report; may be called again. */
  stop(): Promise<HandoverSourceReport>
}

/** Something that is not the same on both sides of a handover, or stands between them. */
export interface HandoverDifference {
  /** Stable, as in a handover's warnings. */
  code: string
  /** The handover cannot work; it costs something; good to know. */
  weight: 'fault' | 'cost' | 'note'
  /** One line: what is so, and what follows. */
  message: string
  /** One line: what to do. */
  advice: string
}

/** Who the other side says it is. */
export interface HandoverPeer {
  role: 'source' | 'destination' | 'rehearsal'
  /** The version of its tapferry. */
  tapferry: string
  /** Empty where its VM has none. */
  vmName: string
  /** QEMU's id. */
  netdevId: string
  /** Of its TAP, in bytes; 0: not known. */
  mtu: number
  /** `TUN_F_*` of its TAP. */
  offloads: number
  /** A virtio-net header before each frame; absent: not known. */
  vnetHdr?: boolean
}

/** What one side of a rehearsal has learned of the other, about one netdev. */
export interface HandoverEncounter {
  /** QEMU's id of the netdev on this side; absent: the other asks for one that is not here. */
  netdev?: string
  /** Absent where it has not said who it is. */
  peer?: HandoverPeer
  /** The shortest. */
  roundTripMs?: number
  /** The other side's clock minus this one's. */
  clockOffsetMs?: number
  /** What differs, or why nothing could be compared. */
  differences: HandoverDifference[]
}

/** A destination that only rehearses. */
export interface HandoverRehearsal {
  /** Null when nobody comes for so long. */
  next(patienceMs: number): Promise<HandoverEncounter | null>
  /** Listens no more. */
  stop(): Promise<void>
}

/** The netdevs of a VM that is going to arrive; each works in a thread of its own. */
export interface HandoverDestination {
  resumed(atNs?: bigint): void
  gone(): void
  /** In the order of the netdevs. */
  reports(): Promise<HandoverDestinationReport[]>
  stop(): Promise<HandoverDestinationReport[]>
}

/** What there is in a network namespace, at one moment. */
export interface NetworkView {
  /** `net:[4026531840]`, as the link /proc/PID/ns/net shows it. */
  namespace: string
  /** By ifindex. */
  interfaces: HostInterface[]
  /** AF_PACKET sockets, whoever has them. */
  packetSockets: PacketSocket[]
  /** Policy rules (`ip rule`) that look at the mark. */
  markRules: MarkRule[]
}

export interface HostInterface {
  name: string
  /** Other names it answers to. */
  altNames: string[]
  ifindex: number
  /** rtnetlink's: `tun`, `veth`, `bridge`, `macvtap` ...; empty where it has none (hardware, loopback). */
  kind: string
  /** Its frames have an Ethernet header. */
  ethernet: boolean
  up: boolean
  /** On a TAP: somebody holds its descriptor. */
  carrier: boolean
  /** Bytes of a layer-3 packet. */
  mtu: number
  /** `52:54:00:12:34:56`; empty where it has none. */
  mac: string
  txQueues: number
  rxQueues: number
  /** Frames. */
  txQueueLength: number
  /** Bytes; above 65536 with BIG TCP. */
  gsoMaxSize: number
  qdisc: string
  /** ifindex of the bridge or bond that it is a port of. */
  controller?: number
  /** Frames pass in `forwarding` only. */
  bridgePortState?: 'disabled' | 'listening' | 'learning' | 'forwarding' | 'blocking'
  /** ifindex of a veth's peer, or of the lower interface of a VLAN or macvtap. */
  link?: number
  /** That one is in another network namespace. */
  linkElsewhere: boolean
  /** TUN and TAP only. */
  tun?: TunFacts
  /** Active ones of those that matter to forwarding, by the names of `ethtool -k`. */
  offloads: string[]
  rxPackets: number
  /** On a TAP: frames read by the holder of its descriptor. */
  txPackets: number
  rxDropped: number
  txDropped: number
  filters: TrafficFilter[]
}

export interface TunFacts {
  /** With an Ethernet header, as a VM has it; otherwise a TUN. */
  tap: boolean
  vnetHeader: boolean
  /** Outlives its descriptors. */
  persistent: boolean
  multiQueue: boolean
  /** Descriptors in use; 1 without multiQueue, held or not: see `carrier`. */
  queues: number
  disabledQueues: number
  /** User and group that may open it. */
  owner?: number
  group?: number
}

/** A tc filter at clsact or ingress, or a program at tcx where the kernel lets us ask for them. */
export interface TrafficFilter {
  /** As the host sees it: egress of a TAP is towards its guest. */
  direction: 'ingress' | 'egress'
  /** `u32`, `flower`, `matchall`, `bpf`, `tcx` ... */
  kind: string
  /** The lowest comes first. */
  priority: number
  /** Ethertype; 3 is all. */
  protocol: number
  handle: number
  /** `mirred`, `gact` ..., in order. */
  actions: string[]
  /** The eBPF program that decides. */
  programId?: number
}

export interface PacketSocket {
  /** 0: all interfaces. */
  ifindex: number
  /** Ethertype; 3 is all, 0 is none: it only sends. */
  protocol: number
  /** As /proc/PID/fd shows it: `socket:[INODE]`. */
  inode: number
  uid: number
  /** Hooked in: bound, and its interface is there. */
  running: boolean
}

export interface MarkRule {
  /** The lowest comes first. */
  priority: number
  /** What the mark must be, under the mask. */
  mark: number
  mask: number
  /** Routing table it leads to; 0 for a rule that leads to none. */
  table: number
  ipv6: boolean
}

/** A TAP's descriptor in another process. */
export interface TapDescriptor {
  /** Its name, in its own namespace. */
  interface: string
  /** `net:[...]`; absent where the kernel does not tell (CAP_NET_ADMIN there; a macvtap). */
  namespace?: string
  tap: boolean
  multiQueue: boolean
  vnetHeader: boolean
  /** 0 without one. */
  vnetHeaderBytes: number
}

/** One end of a connection of unix sockets; the other end is another of these. */
export interface UnixPeer {
  /** As /proc/PID/fd shows it: `socket:[INODE]`. */
  inode: number
  peer: number
  /** Where it is bound: a path, or `@` and an abstract name. A connection has its listener's. */
  path?: string
}

export interface ClockFacts {
  /** Between two ticks, in which some of the kernel's timers count. */
  jiffyNs: number
  /** Something keeps the wall clock in step with others. */
  synchronized: boolean
  /** How far it may be off; grows while nothing corrects it. */
  errorUs: number
  /** Seconds from UTC to TAI; 0 where nobody has told the kernel. */
  taiOffset: number
}

/** What became of a try. Without a packet socket the others are refused for the same reason. */
export interface PrivilegeProbe {
  what: 'packet_socket' | 'mark' | 'receive_buffer' | 'ring'
  allowed: boolean
  /** `EPERM` ... */
  errno?: string
  message?: string
}

export interface CertificateFile {
  file: string
  /** When the first of its certificates expires, as RFC 3339 has it. */
  notAfter: string
  notAfterMs: number
}

export interface Binding {
  Redirector: {
    start(options: RedirectorOptions, onEvent: (event: RedirectorEvent) => void): Promise<Redirector>
  }
  HandoverSource: {
    start(options: HandoverSourceOptions, onEvent: (event: HandoverEvent) => void): Promise<HandoverSource>
  }
  HandoverDestination: {
    start(
      options: HandoverDestinationOptions,
      onEvent: (event: HandoverEvent) => void,
    ): Promise<HandoverDestination>
  }
  HandoverRehearsal: {
    start(netdevs: HandoverNetdevOptions[], from: HandoverAddress): Promise<HandoverRehearsal>
  }
  /**
   * Looks at a destination, armed or rehearsing, for a netdev of the VM that runs here, and disturbs neither. That nobody
   * is there is an encounter, too.
   */
  visitHandover(netdev: HandoverNetdevOptions, to: HandoverAddress): Promise<HandoverEncounter>
  /**
   * `netns`: a path to a namespace's file; without it, this process's own. Needs no privilege, but CAP_SYS_ADMIN to
   * enter another namespace.
   */
  inspectNetwork(netns?: string): Promise<NetworkView>
  /** By pidfd_getfd(2): needs PTRACE_MODE_ATTACH on that process. NETDEV_NOT_FOUND for what is no TAP. */
  inspectTapDescriptor(pid: number, fd: number): Promise<TapDescriptor>
  /** Connected unix sockets of a network namespace. */
  inspectUnixPeers(netns?: string): Promise<UnixPeer[]>
  inspectClock(): ClockFacts
  /** What the kernel allows this process there: each thing tried, on sockets that are closed again at once. */
  probePrivileges(netns?: string): Promise<PrivilegeProbe[]>
  /** By what the kernel lets us close a gate before a VM, if it does: PERMISSION, or SYSTEM. Changes nothing. */
  probeGate(): Promise<GateKind>
  /**
   * What a server or a client would use for TLS, checked; the first to expire comes first. PERMISSION, or
   * TLS_CREDENTIALS_MISSING, _INVALID and _EXPIRED.
   */
  inspectCredentials(directory: string, server: boolean): Promise<CertificateFile[]>
  /** `txqueuelen` of an interface, in frames. Needs CAP_NET_ADMIN there. */
  setQueueLength(ifindex: number, frames: number, netns?: string): Promise<void>
  /** Takes away the gate that a killed process has left, and says whether there was one. Then it needs CAP_NET_ADMIN. */
  removeLeftGate(ifindex: number, pid: number, netns?: string): Promise<boolean>
  /** Lets the calling thread run before others, and threads that begin later. False without CAP_SYS_NICE. */
  goFirst(): boolean
  version(): string
}
