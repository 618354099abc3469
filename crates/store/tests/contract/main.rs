//! What every engine must do. Each case runs once per engine; a new engine adds its name at the end.
//!
//! Cases with the mark `local` are for engines in this process alone: etcd decides by itself when a lease ends (it has no clock
//! that could be moved by hand), how much history and state there may be, how many leases. See `tests/etcd`.

mod basics;
mod concurrency;
#[path = "../etcd/member.rs"]
mod etcd_member;
mod leases;
mod model;
mod ranges;
mod support;
mod transactions;
mod watches;

macro_rules! case {
    (etcd $module:ident $case:ident local) => {};
    ($engine:ident $module:ident $case:ident $($mark:ident)?) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            crate::$module::$case(crate::support::$engine).await;
        }
    };
}

macro_rules! engines {
    ($engine:ident: $($module:ident { $($case:ident $([$mark:ident])?)* })*) => {
        mod $engine {
            $(mod $module {
                $(case! { $engine $module $case $($mark)? })*
            })*
        }
    };
}

macro_rules! contract {
    ($($engine:ident)*) => { $(engines! { $engine:
        basics {
            a_put_can_be_read
            keys_are_ordered_by_bytes
            versions_count_and_start_anew_after_a_delete
            every_change_is_one_revision
            doing_nothing_makes_no_revision
            a_new_store_has_a_higher_epoch
            stats_follow_the_contents [local]
            json_documents_read_back
        }
        transactions {
            compares_relate_stored_to_given
            all_conditions_must_hold
            all_writes_take_effect_in_one_revision
            a_failed_condition_answers_the_reads
            a_key_is_written_once
            ranges_are_deleted
            writes_say_what_was_there
            limits_are_enforced_and_named [local]
            a_full_state_takes_nothing_but_what_makes_it_smaller [local]
        }
        ranges {
            pages_follow_each_other
            keys_only_leaves_values_out
            the_past_can_be_read
            a_list_is_of_one_revision
            compacted_history_is_refused
            the_future_is_refused
            ranges_without_keys_are_empty
        }
        watches {
            nothing_is_missed_from_a_revision_on
            a_transaction_is_one_batch
            events_tell_before_and_now
            only_the_range_is_watched
            a_watch_may_start_in_the_future
            a_compacted_start_is_refused
            a_slow_watcher_is_told_and_can_resync [local]
            dropping_a_wait_loses_nothing
            no_change_is_slept_through
            closing_ends_watches [local]
            watches_are_bounded
        }
        leases {
            keys_end_with_their_lease_in_one_transaction [local]
            renewal_prolongs [local]
            an_expired_lease_cannot_be_renewed [local]
            revoking_deletes_at_once
            a_put_without_lease_detaches
            unknown_leases_are_refused
            times_to_live_are_bounded
            leases_and_their_keys_are_bounded [local]
        }
        concurrency {
            counting_by_compare_and_swap_loses_nothing
            readers_and_watchers_never_see_half_a_transaction
        }
        model {
            random_operations_match_a_trivial_model
        }
    })* };
}

contract! { memory embedded etcd }
