"""Which test proves which row of FAULTS.md (network, HTTP, disk and clock): by name, wherever it stands.

`test_index.py` fails when a row has no test, or when a test that is named here is not there any more. The rows of HTTP
and most of the network have their cells in the matrix besides (`catalogue.py` names the row of each fault).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SECTIONS = MappingProxyType({"N": 14, "H": 29, "D": 19, "C": 5})
"""How many rows each section has: N1 to N14, and so on."""

TESTS: Mapping[str, tuple[str, ...]] = {
    "N1": (
        "test_n1_a_closed_port_is_asked_once_and_left_to_the_ledger",
        "test_n1_a_closed_port_is_for_later",
        "test_n1_a_reset_at_once_is_left_to_the_ledger",
        "test_n1_the_wait_doubles_with_full_jitter_and_stays_within_its_bounds",
        "test_n1_the_wait_is_random_and_doubles",
        "test_n1_a_passing_trouble_puts_the_job_off_with_growing_patience_until_its_tries_are_used_up",
    ),
    "N2": (
        "test_n2_a_name_that_the_third_lookup_finds_is_connected_to",
        "test_n2_a_name_that_three_lookups_do_not_find_is_none_and_another_source_may_do",
        "test_n2_a_proxy_whose_name_is_none_is_no_fault_of_the_job",
        "test_n2_a_silent_resolver_ends_at_the_connect_timeout_and_is_asked_by_one_thread",
        "test_n2_servfail_is_for_later_at_once",
    ),
    "N3": (
        "test_n3_a_black_hole_ends_at_the_connect_timeout_and_says_so",
        "test_n3_a_host_that_never_accepts_holds_up_nobody",
    ),
    "N4": (
        "test_n4_a_certificate_that_does_not_hold_is_final",
        "test_n4_a_host_behind_a_proxy_is_verified_all_the_same",
        "test_n4_a_host_that_speaks_no_tls_is_final_and_one_that_hangs_up_is_for_later",
    ),
    "N5": (
        "test_n5_n6_n7_a_broken_line_is_gone_on_with_where_it_broke",
        "test_n5_n6_n7_h9_a_body_that_breaks_off_is_for_later",
        "test_n1_n5_n6_n7_h11_h23_h24_every_fault_has_its_name",
    ),
    "N6": (
        "test_n6_a_line_that_is_cut_is_gone_on_with_where_it_broke",
        "test_n6_n7_a_body_over_tls_that_breaks_off_is_for_later_and_all_that_came_is_handed_over",
        "test_n5_n6_n7_a_broken_line_is_gone_on_with_where_it_broke",
    ),
    "N7": (
        "test_n7_a_pull_cuts_what_is_inside_once_and_nothing_that_was_left",
        "test_n6_n7_a_body_over_tls_that_breaks_off_is_for_later_and_all_that_came_is_handed_over",
        "test_n5_n6_n7_a_broken_line_is_gone_on_with_where_it_broke",
    ),
    "N8": (
        "test_n8_a_drip_is_told_after_one_window",
        "test_n8_a_line_that_becomes_a_drip_is_told_after_one_window_more",
        "test_n8_a_long_wait_may_be_told_before_it_is_waited",
        "test_n8_a_mirror_that_is_too_slow_is_named_too",
    ),
    "N9": (
        "test_n9_a_throttled_line_is_slow_and_not_stalled",
        "test_n9_the_time_left_on_a_throttled_line_shrinks_by_a_second_each_second",
    ),
    "N10": (
        "test_n10_on_a_bad_line_hardly_a_byte_comes_twice",
        "test_each_byte_is_brought_once_and_none_is_lost_whoever_leaves_whenever",
    ),
    "N11": (
        "test_n11_a_404_is_an_answer_as_good_as_any",
        "test_n11_a_file_that_came_ends_the_rest_of_its_host_and_one_that_was_there_does_not",
        "test_n11_a_host_that_is_away_burns_no_try_and_the_job_says_since_when",
        "test_n11_ten_minutes_without_a_network_cost_no_job_a_try_and_all_go_on_at_once",
    ),
    "N12": (
        "test_n12_a_configured_dead_proxy_is_obeyed_and_named",
        "test_n12_a_configured_proxy_gets_the_question",
        "test_n12_a_dead_proxy_is_for_later_and_its_login_is_told_to_nobody",
        "test_n12_ambient_proxies_and_netrc_are_ignored",
        "test_n12_netrc_is_used_only_when_configured_and_only_over_https",
        "test_n12_the_loopback_needs_no_proxy_unless_the_user_says_so",
    ),
    "N13": (
        "test_n13_a_dead_address_costs_a_moment_and_no_timeout",
        "test_n13_a_family_that_this_machine_does_not_know_is_passed_over",
        "test_n13_an_address_that_refuses_costs_nothing",
        "test_t18_one_private_address_among_public_ones_is_enough_to_refuse",
    ),
    "N14": (
        "test_n14_a_lane_that_stalls_or_crawls_is_taken_over_by_the_others",
        "test_n14_a_lane_that_stalls_with_its_very_last_bytes_is_taken_over_too",
        "test_n14_a_connection_that_stalls_gives_its_place_to_another_one",
        "test_n14_several_connections_really_come_together",
        "test_each_byte_is_brought_once_and_none_is_lost_whoever_leaves_whenever",
    ),
    "H1": (
        "test_h1_a_200_is_the_whole_file_whatever_was_asked",
        "test_h1_a_host_that_ignores_ranges_keeps_its_one_connection",
        "test_h1_a_host_that_ignores_ranges_starts_over_and_nothing_is_appended",
    ),
    "H2": (
        "test_h2_a_part_with_the_wrong_start_is_not_used_but_what_is_here_is_kept",
        "test_h2_a_wrong_start_once_costs_no_byte_that_is_here",
        "test_h2_a_wrong_start_twice_starts_over",
    ),
    "H3": (
        "test_h3_a_part_that_does_not_say_which_starts_over",
        "test_h3_h4_h7_an_answer_that_proves_nothing_starts_over",
    ),
    "H4": (
        "test_h4_a_file_that_changes_between_two_reads_cannot_be_looked_at",
        "test_h4_another_representation_is_in_the_journal_before_its_first_byte_is_in_the_file",
        "test_h4_another_total_starts_over",
    ),
    "H5": (
        "test_h5_a_file_that_is_replaced_between_two_connections_is_never_spliced",
        "test_h5_a_file_that_was_replaced_is_never_spliced",
        "test_h5_another_version_starts_over",
    ),
    "H6": (
        "test_h6_with_a_trusted_digest_it_goes_on_and_the_digest_decides",
        "test_h6_without_a_strong_validator_it_starts_over",
        "test_h6_without_a_strong_validator_only_a_trusted_digest_allows_a_resume",
    ),
    "H7": (
        "test_h7_416_is_believed_only_with_the_right_size_and_a_digest_to_check",
        "test_h7_416_is_believed_when_the_digest_of_what_is_here_agrees",
        "test_h7_416_is_not_believed_without_the_right_digest",
    ),
    "H8": (
        "test_h8_a_body_without_a_length_needs_something_that_proves_its_end",
        "test_h8_a_file_cut_at_its_source_is_refused",
        "test_h8_a_silent_cut_is_found_out_and_gone_on_with",
        "test_h8_silent_cuts_are_bounded_however_much_each_of_them_brings",
    ),
    "H9": (
        "test_h9_a_body_without_framing_that_is_cut_is_no_truncated_file",
        "test_h9_a_cut_chunked_body_is_gone_on_with",
        "test_h9_chunks_that_are_cut_every_time_are_asked_for_so_often_and_no_more",
    ),
    "H10": (
        "test_h10_a_file_that_is_replaced_by_one_of_another_size_is_refused_when_the_size_is_known",
        "test_h10_a_length_that_is_not_the_expected_size_is_refused_before_the_first_byte",
        "test_h10_an_empty_file_is_never_right",
    ),
    "H11": (
        "test_h11_a_contradictory_length_is_a_protocol_error",
        "test_h11_a_head_that_contradicts_itself_is_refused",
        "test_n1_n5_n6_n7_h11_h23_h24_every_fault_has_its_name",
    ),
    "H12": ("test_h12_an_encoded_body_is_refused",),
    "H13": (
        "test_h13_a_body_shorter_than_the_head_is_shown_too",
        "test_h13_a_page_of_another_size_is_called_a_page",
        "test_h13_the_head_is_shown_before_anything_beyond_it_is_written",
        "test_h13_what_is_refused_leaves_nothing_behind_and_is_not_read_on",
        "test_h13_a_web_page_instead_of_a_model_is_refused_with_the_next_step",
    ),
    "H14": (
        "test_h14_a_closed_door_is_final_and_the_hint_names_the_variable",
        "test_h14_a_gated_repository_says_where_to_accept_the_licence",
        "test_h14_a_host_without_a_known_token_is_no_place_to_set_one",
    ),
    "H15": (
        "test_h15_a_source_without_the_file_is_left_for_the_next",
        "test_h15_what_is_gone_is_looked_for_elsewhere",
        "test_h14_h15_h16_h17_h19_h23_h24_one_question_is_enough",
    ),
    "H16": (
        "test_h16_a_busy_host_is_given_the_time_it_asks_for",
        "test_h16_retry_after_is_obeyed_up_to_a_cap_and_garbage_is_nothing",
        "test_h16_a_host_that_becomes_busy_on_the_way_is_obeyed_and_the_bytes_are_kept",
        "test_h16_when_a_host_asks_for_time_all_its_jobs_wait_and_none_loses_a_try",
    ),
    "H17": (
        "test_h17_a_broken_server_is_tried_again",
        "test_h17_a_burst_of_server_errors_is_left_to_the_ledger",
        "test_h14_h15_h16_h17_h19_h23_h24_one_question_is_enough",
    ),
    "H18": (
        "test_h18_a_redirect_loop_ends_after_ten",
        "test_h18_a_redirect_loop_is_final",
    ),
    "H19": (
        "test_h19_a_redirect_says_where_or_is_refused",
        "test_h19_a_redirect_to_nowhere_or_to_a_file_is_refused",
        "test_h19_h22_t20_a_redirect_to_what_we_would_not_fetch_is_refused",
    ),
    "H20": (
        "test_h20_no_token_is_written_anywhere_or_sent_to_another_host",
        "test_h20_t21_a_remembered_address_elsewhere_never_gets_the_token_and_its_origin_does",
        "test_h20_t21_the_token_does_not_follow_from_http_to_https",
    ),
    "H21": (
        "test_h21_a_signed_address_that_ran_out_is_asked_for_again_at_the_origin_once",
        "test_h21_a_signed_link_serves_the_next_connection_too",
        "test_h21_a_signed_link_that_is_refused_is_for_later_and_no_question_of_tokens",
    ),
    "H22": (
        "test_h22_a_redirect_from_https_to_http_is_refused",
        "test_h19_h22_t20_a_redirect_to_what_we_would_not_fetch_is_refused",
    ),
    "H23": (
        "test_h23_a_head_beyond_64_kib_or_100_headers_is_refused",
        "test_h14_h15_h16_h17_h19_h23_h24_one_question_is_enough",
        "test_n1_n5_n6_n7_h11_h23_h24_every_fault_has_its_name",
    ),
    "H24": (
        "test_h24_a_part_that_nobody_asked_for_is_refused",
        "test_h24_any_other_status_is_no_answer",
        "test_h14_h15_h16_h17_h19_h23_h24_one_question_is_enough",
    ),
    "H25": ("test_h25_the_name_in_content_disposition_is_ignored",),
    "H26": (
        "test_h26_a_body_that_is_one_byte_longer_is_not_taken",
        "test_h26_a_file_beyond_the_limit_is_refused_before_the_first_byte",
        "test_h26_an_endless_body_is_left_at_the_limit",
    ),
    "H27": (
        "test_show_4_a_host_that_dies_at_40_percent_costs_two_percent_of_the_bytes_at_most",
        "test_h27_no_fault_makes_us_ask_for_a_head",
    ),
    "H28": (
        "test_h28_a_flipped_bit_is_reported_by_the_digest_of_the_very_bytes",
        "test_show_4_a_host_that_lies_is_blamed_and_only_its_bytes_come_again",
        "test_h28_after_a_wrong_file_the_next_source_is_tried_once",
        "test_h28_another_digest_is_refused_with_both_digests_and_sent_elsewhere",
    ),
    "H29": (
        "test_h29_a_connection_with_bytes_after_the_end_is_never_used_again",
        "test_h29_an_answer_whose_rest_is_still_to_come_costs_its_connection",
        "test_h29_bytes_after_the_end_are_never_looked_at",
        "test_h29_bytes_after_the_end_cost_a_connection_over_tls_too",
    ),
    "D1": (
        "test_d1_a_file_that_does_not_fit_for_now_is_asked_for_nowhere",
        "test_d1_a_file_that_is_too_large_for_now_comes_when_there_is_room_and_others_before_it",
        "test_d1_a_full_disk_burns_no_try",
        "test_d1_a_volume_that_refuses_a_byte_is_shut_for_all_its_jobs_until_there_is_room",
    ),
    "D2": (
        "test_d2_a_full_disk_costs_the_ring_and_nothing_else",
        "test_d2_a_full_ledger_stops_no_worker",
        "test_d2_a_full_volume_of_the_ledger_loses_no_job_and_no_try",
    ),
    "D3": (
        "test_d3_a_kept_file_is_copied_to_another_volume",
        "test_d3_a_model_folder_that_links_to_another_volume_has_one_of_its_own",
        "test_d3_another_volume_is_named_and_nothing_is_copied",
    ),
    "D4": (
        "test_d4_a_flush_that_fails_is_never_taken_for_one_that_worked",
        "test_d4_a_flush_that_fails_puts_nothing_in_place",
        "test_d4_after_a_flush_that_failed_there_is_no_other",
    ),
    "D5": (
        "test_d5_a_read_only_ledger_can_be_read",
        "test_d1_d4_d5_d7_d8_d9_every_fault_at_every_call",
        "test_d1_d4_d5_d7_d8_d9_whatever_call_fails_nothing_wrong_is_durable_and_the_next_attempt_ends_well",
    ),
    "D6": (
        "test_d6_a_file_that_cannot_be_read_is_the_workers_to_explain",
        "test_d6_a_file_that_we_may_not_read_is_named",
        "test_d6_a_folder_that_we_may_not_write_is_named_with_what_it_needs",
        "test_d6_a_proven_file_that_may_not_be_put_in_place_is_kept_for_the_retry",
    ),
    "D7": (
        "test_d1_d4_d6_d7_d8_what_a_disk_says_is_translated_and_names_the_path",
        "test_d1_d4_d5_d7_d8_d9_every_fault_at_every_call",
        "test_d1_d4_d5_d7_d8_d9_whatever_call_fails_nothing_wrong_is_durable_and_the_next_attempt_ends_well",
    ),
    "D8": (
        "test_d8_no_job_leaves_a_file_or_a_thread_open_however_it_ends",
        "test_d8_too_many_open_files_are_for_later",
        "test_d8_a_machine_that_is_short_of_something_burns_no_try_however_often",
        "test_a_race_leaves_no_socket_and_no_thread_behind",
        "test_d4_d8_a_disk_that_fails_in_a_resume",
    ),
    "D9": (
        "test_d9_a_volume_without_inodes_is_waited_for",
        "test_d9_a_look_takes_no_for_an_answer_although_bytes_are_free",
        "test_d9_quota_and_inodes_do_not_show_in_the_free_bytes_so_a_byte_is_tried",
        "test_d1_d4_d5_d7_d8_d9_every_fault_at_every_call",
    ),
    "D10": (
        "test_d10_a_disk_that_hangs_holds_up_its_job_only_and_nobody_takes_it_away",
        "test_d10_a_disk_that_hangs_keeps_no_job_of_another_disk_waiting",
    ),
    "D11": ("test_d11_a_name_that_some_file_system_cannot_have_is_refused_with_a_reason_and_leaves_no_job",),
    "D12": (
        "test_d12_a_folder_that_moves_onto_a_volume_of_its_own_is_welcome",
        "test_d12_a_linked_folder_whose_disk_is_away_is_missed",
        "test_d12_nothing_is_made_below_an_empty_mount_point",
        "test_d12_the_empty_mount_point_of_a_volume_is_not_filled_and_its_jobs_go_on_when_it_is_back",
    ),
    "D13": (
        "test_d13_a_power_cut_costs_no_acknowledged_job_and_leaves_no_wrong_file",
        "test_d13_a_torn_or_senseless_journal_is_none",
        "test_file_and_folder_are_flushed_in_that_order",
        "test_d13_a_worker_that_does_not_flush_is_found_by_the_cuts",
    ),
    "D14": (
        "test_d14_a_file_in_place_with_the_right_digest_is_answered_without_work",
        "test_d14_other_bytes_there_are_a_conflict_and_stay",
        "test_d14_a_file_that_appears_at_the_last_moment_is_not_overwritten",
        "test_d14_another_digest_there_is_a_conflict_before_anything_is_fetched",
    ),
    "D15": ("test_d15_the_disk_is_asked_and_not_the_ledger",),
    "D16": (
        "test_d16_a_file_that_changed_after_its_proof_is_not_put_in_place",
        "test_d16_a_file_that_changed_after_the_fetch_is_read_again_and_refused",
        "test_d16_a_file_that_changes_while_it_is_linked_is_taken_away_again",
        "test_d16_what_is_told_is_the_file_that_was_written",
    ),
    "D17": (
        "test_d17_a_file_of_the_full_size_is_not_complete_for_that",
        "test_d17_a_whole_file_has_no_gaps_whatever_its_size",
        "test_d17_room_that_was_taken_beforehand_is_no_file",
    ),
    "D18": (
        "test_d18_a_file_that_somebody_cuts_while_it_is_open_is_no_file",
        "test_d18_a_journal_that_knows_of_more_bytes_than_there_are_is_none",
        "test_d18_a_resume_goes_on_with_what_is_durable_and_with_nothing_else",
    ),
    "D19": (
        "test_d19_nobody_is_cleared_out_while_at_work",
        "test_d19_rooms_of_jobs_that_are_over_or_unknown_go_and_all_others_stay",
        "test_d19_staging_beside_models_is_cleared_as_well",
    ),
    "C1": (
        "test_c1_p10_a_lease_holds_for_its_time_in_its_boot_only",
        "test_c1_the_steady_clock_never_goes_back_and_knows_its_boot",
        "test_c1_in_a_ledger_that_knows_the_longest_wait_a_step_of_the_clock_costs_no_more_than_that",
        "test_c4_the_steady_clock_is_the_one_that_goes_on_in_a_suspend",
    ),
    "C2": (
        "test_c2_a_time_that_a_wrong_clock_wrote_keeps_no_job_waiting",
        "test_c2_no_wait_is_longer_than_the_longest_that_the_ledger_believes",
        "test_c2_the_workers_ledger_knows_the_longest_wait_of_its_settings",
    ),
    "C3": (
        "test_c3_jobs_take_their_turn_as_they_came_whatever_the_wall_said",
        "test_c3_the_wall_is_utc_and_told_with_z",
        "test_c3_times_sort_as_text",
    ),
    "C4": (
        "test_c4_after_a_suspend_the_heart_beats_on_and_the_job_stays",
        "test_c4_at_worst_the_job_is_leased_once_more_and_who_slept_lets_go",
        "test_c4_the_steady_clock_counts_what_a_suspend_takes",
        "test_c4_the_steady_clock_is_the_one_that_goes_on_in_a_suspend",
    ),
    "C5": ("test_c5_a_certificate_of_the_future_means_a_wrong_clock_and_is_for_later",),
}
