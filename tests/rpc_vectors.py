"""JSON of the admin interface, as the reference node writes it.

Origin: values encoded by the peer-to-peer library of the reference node of May 2019,
minified.  Of 2026 there are none: what differs is made of these by the tests.
"""

from __future__ import annotations

#: Metadata of a peer of whom nothing is remembered.
METADATA = (
    '{"responses":{"sent":{"branch":"0","head":"0","block_header":"0","operations":'
    '"0","protocols":"0","operation_hashes_for_block":"0","operations_for_block":"0'
    '","other":"0"},"failed":{"branch":"0","head":"0","block_header":"0","operation'
    's":"0","protocols":"0","operation_hashes_for_block":"0","operations_for_block"'
    ':"0","other":"0"},"received":{"branch":"0","head":"0","block_header":"0","oper'
    'ations":"0","protocols":"0","operation_hashes_for_block":"0","operations_for_b'
    'lock":"0","other":"0"},"unexpected":"0","outdated":"0"},"requests":{"sent":{"b'
    'ranch":"0","head":"0","block_header":"0","operations":"0","protocols":"0","ope'
    'ration_hashes_for_block":"0","operations_for_block":"0","other":"0"},"received'
    '":{"branch":"0","head":"0","block_header":"0","operations":"0","protocols":"0"'
    ',"operation_hashes_for_block":"0","operations_for_block":"0","other":"0"},"fai'
    'led":{"branch":"0","head":"0","block_header":"0","operations":"0","protocols":'
    '"0","operation_hashes_for_block":"0","operations_for_block":"0","other":"0"},"'
    'scheduled":{"branch":"0","head":"0","block_header":"0","operations":"0","proto'
    'cols":"0","operation_hashes_for_block":"0","operations_for_block":"0","other":'
    '"0"}},"valid_blocks":"0","old_heads":"0","prevalidator_results":{"cannot_downl'
    'oad":"0","cannot_parse":"0","refused_by_prefilter":"0","refused_by_postfilter"'
    ':"0","applied":"0","branch_delayed":"0","branch_refused":"0","refused":"0","du'
    'plicate":"0","outdated":"0"},"unactivated_chains":"0","inactive_chains":"0","f'
    'uture_blocks_advertised":"0","unadvertised":{"block":"0","operations":"0","pro'
    'tocol":"0"},"advertisements":{"sent":{"head":"0","branch":"0"},"received":{"he'
    'ad":"0","branch":"0"}}}'
)
PEER_INFO_RUNNING = (
    '{"score":1.5,"trusted":true,"conn_metadata":{"disable_mempool":false,"private_'
    'node":true},"peer_metadata":'
    + METADATA
    + ',"state":"running","reachable_at":{"addr":"::ffff:127.0.0.1","port":9732},"sta'
    't":{"total_sent":"12345678901","total_recv":"42","current_inflow":17,"current_'
    'outflow":20},"last_failed_connection":[{"addr":"::ffff:127.0.0.1"},"2019-05-16'
    'T10:30:05-00:00"],"last_rejected_connection":[{"addr":"2001:db8::1","port":973'
    '2},"2019-05-16T10:30:05-00:00"],"last_established_connection":[{"addr":"::ffff'
    ':127.0.0.1","port":9732},"2019-05-17T23:59:59-00:00"],"last_disconnection":[{"'
    'addr":"::ffff:127.0.0.1","port":9732},"2019-05-17T23:59:59-00:00"],"last_seen"'
    ':[{"addr":"::ffff:127.0.0.1","port":9732},"2019-05-17T23:59:59-00:00"],"last_m'
    'iss":[{"addr":"::ffff:127.0.0.1"},"2019-05-16T10:30:05-00:00"]}'
)
PEER_INFO_MINIMAL = (
    '{"score":0,"trusted":false,"peer_metadata":'
    + METADATA
    + ',"state":"disconnected","stat":{"total_sent":"0","total_recv":"0","current_inf'
    'low":0,"current_outflow":0}}'
)
PEERS = (
    '[["idtYTfTAvS6fhH9WvkXFtRaK6Cij32",{"score":0,"trusted":false,"peer_metadata":'
    + METADATA
    + ',"state":"disconnected","stat":{"total_sent":"0","total_recv":"0","current_inf'
    'low":0,"current_outflow":0}}]]'
)
POINT_INFO_RUNNING = (
    '{"trusted":true,"greylisted_until":"2019-05-17T23:59:59-00:00","state":{"event'
    '_kind":"running","p2p_peer_id":"idtYTfTAvS6fhH9WvkXFtRaK6Cij32"},"p2p_peer_id"'
    ':"idtYTfTAvS6fhH9WvkXFtRaK6Cij32","last_failed_connection":"2019-05-16T10:30:0'
    '5-00:00","last_rejected_connection":["idtYTfTAvS6fhH9WvkXFtRaK6Cij32","2019-05'
    '-16T10:30:05-00:00"],"last_established_connection":["idtYTfTAvS6fhH9WvkXFtRaK6'
    'Cij32","2019-05-17T23:59:59-00:00"],"last_disconnection":["idtYTfTAvS6fhH9WvkX'
    'FtRaK6Cij32","2019-05-17T23:59:59-00:00"],"last_seen":["idtYTfTAvS6fhH9WvkXFtR'
    'aK6Cij32","2019-05-17T23:59:59-00:00"],"last_miss":"2019-05-16T10:30:05-00:00"'
    "}"
)
POINT_INFO_ACCEPTED = (
    '{"trusted":true,"greylisted_until":"2019-05-17T23:59:59-00:00","state":{"event'
    '_kind":"accepted","p2p_peer_id":"idtYTfTAvS6fhH9WvkXFtRaK6Cij32"},"p2p_peer_id'
    '":"idtYTfTAvS6fhH9WvkXFtRaK6Cij32","last_failed_connection":"2019-05-16T10:30:'
    '05-00:00","last_rejected_connection":["idtYTfTAvS6fhH9WvkXFtRaK6Cij32","2019-0'
    '5-16T10:30:05-00:00"],"last_established_connection":["idtYTfTAvS6fhH9WvkXFtRaK'
    '6Cij32","2019-05-17T23:59:59-00:00"],"last_disconnection":["idtYTfTAvS6fhH9Wvk'
    'XFtRaK6Cij32","2019-05-17T23:59:59-00:00"],"last_seen":["idtYTfTAvS6fhH9WvkXFt'
    'RaK6Cij32","2019-05-17T23:59:59-00:00"],"last_miss":"2019-05-16T10:30:05-00:00'
    '"}'
)
POINT_INFO_REQUESTED = (
    '{"trusted":true,"greylisted_until":"2019-05-17T23:59:59-00:00","state":{"event'
    '_kind":"requested"},"last_failed_connection":"2019-05-16T10:30:05-00:00","last'
    '_rejected_connection":["idtYTfTAvS6fhH9WvkXFtRaK6Cij32","2019-05-16T10:30:05-0'
    '0:00"],"last_established_connection":["idtYTfTAvS6fhH9WvkXFtRaK6Cij32","2019-0'
    '5-17T23:59:59-00:00"],"last_disconnection":["idtYTfTAvS6fhH9WvkXFtRaK6Cij32","'
    '2019-05-17T23:59:59-00:00"],"last_seen":["idtYTfTAvS6fhH9WvkXFtRaK6Cij32","201'
    '9-05-17T23:59:59-00:00"],"last_miss":"2019-05-16T10:30:05-00:00"}'
)
POINT_INFO_MINIMAL = '{"trusted":false,"state":{"event_kind":"disconnected"}}'
POINTS = (
    '[["127.0.0.1:9732",{"trusted":false,"state":{"event_kind":"disconnected"}}],["'
    '[2001:db8::1]:9732",{"trusted":false,"state":{"event_kind":"disconnected"}}]]'
)
CONNECTION_INCOMING = (
    '{"incoming":true,"peer_id":"idtYTfTAvS6fhH9WvkXFtRaK6Cij32","id_point":{"addr"'
    ':"::ffff:127.0.0.1","port":9732},"remote_socket_port":40123,"announced_version'
    '":{"chain_name":"TEZOS","distributed_db_version":0,"p2p_version":0},"private":'
    'false,"local_metadata":{"disable_mempool":false,"private_node":false},"remote_'
    'metadata":{"disable_mempool":true,"private_node":false}}'
)
CONNECTION_OUTGOING = (
    '{"incoming":false,"peer_id":"idtYTfTAvS6fhH9WvkXFtRaK6Cij32","id_point":{"addr'
    '":"2001:db8::1","port":9732},"remote_socket_port":40123,"announced_version":{"'
    'chain_name":"TEZOS","distributed_db_version":0,"p2p_version":0},"private":fals'
    'e,"local_metadata":{"disable_mempool":false,"private_node":false},"remote_meta'
    'data":{"disable_mempool":true,"private_node":false}}'
)
CONNECTION_NO_PORT = (
    '{"incoming":true,"peer_id":"idtYTfTAvS6fhH9WvkXFtRaK6Cij32","id_point":{"addr"'
    ':"::ffff:127.0.0.1"},"remote_socket_port":40123,"announced_version":{"chain_na'
    'me":"TEZOS","distributed_db_version":0,"p2p_version":0},"private":false,"local'
    '_metadata":{"disable_mempool":false,"private_node":false},"remote_metadata":{"'
    'disable_mempool":true,"private_node":false}}'
)
STAT = (
    '{"total_sent":"12345678901","total_recv":"42","current_inflow":17,"current_out'
    'flow":20}'
)
VERSION = '{"chain_name":"TEZOS","distributed_db_version":0,"p2p_version":0}'
POOL_EVENTS = (
    ('{"event":"too_few_connections"}'),
    ('{"event":"too_many_connections"}'),
    ('{"event":"new_point","point":"127.0.0.1:9732"}'),
    ('{"event":"new_peer","peer_id":"idtYTfTAvS6fhH9WvkXFtRaK6Cij32"}'),
    ('{"event":"gc_points"}'),
    ('{"event":"gc_peer_ids"}'),
    ('{"event":"incoming_connection","point":"127.0.0.1:9732"}'),
    ('{"event":"outgoing_connection","point":"127.0.0.1:9732"}'),
    ('{"event":"authentication_failed","point":"127.0.0.1:9732"}'),
    (
        '{"event":"accepting_request","point":"127.0.0.1:9732","id_point":{"addr":"::ff'
        'ff:127.0.0.1","port":9732},"peer_id":"idtYTfTAvS6fhH9WvkXFtRaK6Cij32"}'
    ),
    (
        '{"event":"rejecting_request","point":"127.0.0.1:9732","id_point":{"addr":"::ff'
        'ff:127.0.0.1"},"peer_id":"idtYTfTAvS6fhH9WvkXFtRaK6Cij32"}'
    ),
    ('{"event":"request_rejected","point":"127.0.0.1:9732"}'),
    (
        '{"event":"request_rejected","point":"127.0.0.1:9732","identity":[{"addr":"::ff'
        'ff:127.0.0.1","port":9732},"idtYTfTAvS6fhH9WvkXFtRaK6Cij32"]}'
    ),
    (
        '{"event":"connection_established","id_point":{"addr":"::ffff:127.0.0.1","port"'
        ':9732},"peer_id":"idtYTfTAvS6fhH9WvkXFtRaK6Cij32"}'
    ),
    ('{"event":"swap_request_received","source":"idtYTfTAvS6fhH9WvkXFtRaK6Cij32"}'),
    ('{"event":"swap_ack_received","source":"idtYTfTAvS6fhH9WvkXFtRaK6Cij32"}'),
    ('{"event":"swap_request_sent","source":"idtYTfTAvS6fhH9WvkXFtRaK6Cij32"}'),
    ('{"event":"swap_ack_sent","source":"idtYTfTAvS6fhH9WvkXFtRaK6Cij32"}'),
    ('{"event":"swap_request_ignored","source":"idtYTfTAvS6fhH9WvkXFtRaK6Cij32"}'),
    ('{"event":"swap_success","source":"idtYTfTAvS6fhH9WvkXFtRaK6Cij32"}'),
    ('{"event":"swap_failure","source":"idtYTfTAvS6fhH9WvkXFtRaK6Cij32"}'),
    ('{"event":"disconnection","peer_id":"idtYTfTAvS6fhH9WvkXFtRaK6Cij32"}'),
    ('{"event":"external_disconnection","peer_id":"idtYTfTAvS6fhH9WvkXFtRaK6Cij32"}'),
)
POINT_EVENTS = (
    ('["2019-05-16T10:30:05-00:00",{"event_kind":"outgoing_request"}]'),
    (
        '["2019-05-16T10:30:05-00:00",{"event_kind":"accepting_request","p2p_peer_id":"'
        'idtYTfTAvS6fhH9WvkXFtRaK6Cij32"}]'
    ),
    (
        '["2019-05-16T10:30:05-00:00",{"event_kind":"rejecting_request","p2p_peer_id":"'
        'idtYTfTAvS6fhH9WvkXFtRaK6Cij32"}]'
    ),
    ('["2019-05-16T10:30:05-00:00",{"event_kind":"request_rejected"}]'),
    (
        '["2019-05-16T10:30:05-00:00",{"event_kind":"request_rejected","p2p_peer_id":"i'
        'dtYTfTAvS6fhH9WvkXFtRaK6Cij32"}]'
    ),
    (
        '["2019-05-16T10:30:05-00:00",{"event_kind":"rejecting_request","p2p_peer_id":"'
        'idtYTfTAvS6fhH9WvkXFtRaK6Cij32"}]'
    ),
    (
        '["2019-05-16T10:30:05-00:00",{"event_kind":"rejecting_request","p2p_peer_id":"'
        'idtYTfTAvS6fhH9WvkXFtRaK6Cij32"}]'
    ),
    (
        '["2019-05-16T10:30:05-00:00",{"event_kind":"rejecting_request","p2p_peer_id":"'
        'idtYTfTAvS6fhH9WvkXFtRaK6Cij32"}]'
    ),
)
ERRORS = (
    ('[{"kind":"permanent","id":"node.p2p_io_scheduler.connection_closed"}]'),
    ('[{"kind":"permanent","id":"node.p2p_socket.decipher_error"}]'),
    ('[{"kind":"permanent","id":"node.p2p_socket.invalid_message_size"}]'),
    ('[{"kind":"permanent","id":"node.p2p_socket.encoding_error"}]'),
    ('[{"kind":"permanent","id":"node.p2p_socket.rejected_socket_connection"}]'),
    (
        '[{"kind":"permanent","id":"node.p2p_socket.rejected_no_common_protocol","annou'
        'nced_version":{"chain_name":"TEZOS","distributed_db_version":0,"p2p_version":0'
        "}}]"
    ),
    ('[{"kind":"permanent","id":"node.p2p_socket.decoding_error"}]'),
    (
        '[{"kind":"permanent","id":"node.p2p_socket.myself","connection id":{"addr":"::'
        'ffff:127.0.0.1","port":9732}}]'
    ),
    (
        '[{"kind":"permanent","id":"node.p2p_socket.not_enough_proof_of_work","peer id"'
        ':"idtYTfTAvS6fhH9WvkXFtRaK6Cij32"}]'
    ),
    ('[{"kind":"permanent","id":"node.p2p_socket.invalid_auth"}]'),
    (
        '[{"kind":"permanent","id":"node.p2p_socket.invalid_chunks_size","value":10,"mi'
        'n":19,"max":65535}]'
    ),
    ('[{"kind":"permanent","id":"node.p2p_pool.pending_connection"}]'),
    ('[{"kind":"permanent","id":"node.p2p_pool.connected"}]'),
    ('[{"kind":"permanent","id":"node.p2p_pool.connection_refused"}]'),
    (
        '[{"kind":"permanent","id":"node.p2p_pool.rejected","peer id":"idtYTfTAvS6fhH9W'
        'vkXFtRaK6Cij32"}]'
    ),
    ('[{"kind":"permanent","id":"node.p2p_pool.too_many_connections"}]'),
    ('[{"kind":"permanent","id":"node.p2p_pool.private_mode"}]'),
    ('[{"kind":"permanent","id":"node.p2p_pool.point_banned","point":"127.0.0.1:9732"}]'),
    (
        '[{"kind":"permanent","id":"node.p2p_pool.peer_banned","peer":"idtYTfTAvS6fhH9W'
        'vkXFtRaK6Cij32"}]'
    ),
    ('[{"kind":"temporary","id":"utils.Timeout"}]'),
    (
        '[{"kind":"generic","error":"Unclassified error: Tezos_error_monad.Error_monad.'
        'Canceled. Was the error registered?"}]'
    ),
)

# -- the same in bytes ------------------------------------------------------------------

STAT_BYTES = bytes.fromhex("00000002dfdc1c35000000000000002a0000001100000014")
CONNECTION_BYTES = bytes.fromhex(
    "ffdfc08072bd9107d74e08afb2cc3d398d0000001000000000000000000000ffff7f000001ff"
    "26049cbb0000000554455a4f5300000000000000ff00"
)
POINT_INFO_BYTES = bytes.fromhex(
    "ff000000005cdf4aff02dfc08072bd9107d74e08afb2cc3d398dffdfc08072bd9107d74e08af"
    "b2cc3d398dff000000005cdd3badffdfc08072bd9107d74e08afb2cc3d398d000000005cdd3b"
    "adffdfc08072bd9107d74e08afb2cc3d398d000000005cdf4affffdfc08072bd9107d74e08af"
    "b2cc3d398d000000005cdf4affffdfc08072bd9107d74e08afb2cc3d398d000000005cdf4aff"
    "ff000000005cdd3bad"
)
PEER_INFO_BYTES = bytes.fromhex(
    "3ff8000000000000ffff00ff0000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000000000001ff0000001000000000000000000000ffff7f000001"
    "ff260400000002dfdc1c35000000000000002a0000001100000014ff00000010000000000000"
    "00000000ffff7f00000100000000005cdd3badff0000001020010db800000000000000000000"
    "0001ff2604000000005cdd3badff0000001000000000000000000000ffff7f000001ff260400"
    "0000005cdf4affff0000001000000000000000000000ffff7f000001ff2604000000005cdf4a"
    "ffff0000001000000000000000000000ffff7f000001ff2604000000005cdf4affff00000010"
    "00000000000000000000ffff7f00000100000000005cdd3bad"
)
